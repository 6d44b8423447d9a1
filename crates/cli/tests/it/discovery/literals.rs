//! Files that a script names in its source.

use super::check;

#[test]
fn a_literal_path_that_exists_travels() {
    let tree = [
        (
            "p/s.py",
            "import yaml\ncfg = yaml.safe_load(open('config.yaml'))\nrows = open(\"data/x.csv\")\nopen('no')",
        ),
        ("p/config.yaml", ""),
        ("p/data/x.csv", ""),
        ("p/data/other.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/config.yaml: literal s.py:2
    /p/data/x.csv: literal s.py:3
    /p/s.py: program
    needs yaml: s.py:1
    "#);
}

#[test]
fn literals_are_looked_up_from_the_working_directory_and_from_the_scripts_folder() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/tools/s.py", "open('beside.txt'); open('above.txt')"),
        ("p/tools/beside.txt", ""),
        ("p/above.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "tools/s.py"), @r#"
    /p/above.txt: literal s.py:1
    /p/tools/beside.txt: literal s.py:1
    /p/tools/s.py: program
    "#);
}

#[test]
fn pathlib_joins_and_file_relative_paths_are_understood() {
    let source = "
from pathlib import Path
HERE = Path(__file__).resolve().parent
DATA = HERE / 'data'
a = (DATA / 'a.csv').read_text()
b = open(Path('data') / 'sub' / 'b.csv')
c = Path(__file__).parents[1].joinpath('shared', 'c.csv')
d = DATA.joinpath('d.csv').with_suffix('.json')
e = DATA / 'a.csv'
f = e.with_name('f.csv').open()
";
    let tree = [
        ("p/.rgridignore", ""),
        ("p/app/s.py", source),
        ("p/app/data/a.csv", ""),
        ("p/app/data/d.json", ""),
        ("p/app/data/f.csv", ""),
        ("p/app/data/unused.csv", ""),
        ("p/data/sub/b.csv", ""),
        ("p/shared/c.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "app/s.py"), @r#"
    /p/app/data/a.csv: literal s.py:5
    /p/app/data/d.json: literal s.py:8
    /p/app/data/f.csv: literal s.py:10
    /p/app/s.py: program
    /p/data/sub/b.csv: literal s.py:6
    /p/shared/c.csv: literal s.py:7
    "#);
}

#[test]
fn os_path_is_understood_as_well() {
    let source = "
import os, os.path as osp
BASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
a = os.path.join(BASE_DIR, 'conf', 'a.ini')
b = osp.join('conf', 'b.ini')
c = BASE_DIR + '/conf/c.ini'
d = f'{BASE_DIR}/conf/d.ini'
e = 'conf' '/e.ini'
f = os.environ.get('CONFIG', 'conf/f.ini')
";
    let tree = [
        ("p/.git/HEAD", ""),
        ("p/bin/s.py", source),
        ("p/conf/a.ini", ""),
        ("p/conf/b.ini", ""),
        ("p/conf/c.ini", ""),
        ("p/conf/d.ini", ""),
        ("p/conf/e.ini", ""),
        ("p/conf/f.ini", ""),
        ("p/conf/g.ini", ""),
    ];
    insta::assert_snapshot!(check(&tree, "bin/s.py"), @r#"
    /p/bin/s.py: program
    /p/conf/a.ini: literal s.py:4
    /p/conf/b.ini: literal s.py:5
    /p/conf/c.ini: literal s.py:6
    /p/conf/d.ini: literal s.py:7
    /p/conf/e.ini: literal s.py:8
    /p/conf/f.ini: literal s.py:9
    "#);
}

#[test]
fn a_path_that_is_built_at_run_time_sends_only_its_folder() {
    let tree = [
        (
            "p/s.py",
            "import sys\nopen(f'data/{sys.argv[1]}.csv')\nopen('out/%s.txt' % 1, 'w')\nopen('logs/{}'.format(2), 'w')",
        ),
        ("p/data/x.csv", ""),
        ("p/out/old.txt", ""),
        ("p/logs/", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py x"), @r#"
    /p/data/: literal s.py:2
    /p/logs/: literal s.py:4
    /p/out/: literal s.py:3
    /p/s.py: program
    "#);
}

#[test]
fn globs_send_what_they_match() {
    let source = "
import glob
from pathlib import Path
DATA = Path('data')
def read(folder):
    return [p.read_text() for p in sorted(folder.glob('*.txt'))]
glob.glob('data/*.csv')
glob.glob('deep/**/*.csv', recursive=True)
read(DATA)
for p in Path('rec').rglob('*.md'): print(p)
for ext in unknown(): glob.glob(f'img/*.{ext}')
unknown().glob('*.never')
";
    let tree = [
        ("p/s.py", source),
        ("p/data/a.csv", ""),
        ("p/data/.hidden.csv", ""),
        ("p/data/b.txt", ""),
        ("p/data/c.json", ""),
        ("p/deep/1/2/x.csv", ""),
        ("p/deep/top.csv", ""),
        ("p/deep/no.txt", ""),
        ("p/rec/a/b.md", ""),
        ("p/img/x.png", ""),
        ("p/img/sub/y.png", ""),
        ("p/z/x.never", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/data/a.csv: literal s.py:7
    /p/data/b.txt: literal s.py:6
    /p/deep/1/2/x.csv: literal s.py:8
    /p/deep/top.csv: literal s.py:8
    /p/img/x.png: literal s.py:11
    /p/rec/a/b.md: literal s.py:10
    /p/s.py: program
    "#);
}

#[test]
fn a_folder_that_is_listed_travels_as_deep_as_it_is_read() {
    let source = "
import os, shutil
for name in os.listdir('listed'): print(name)
for folder, _, names in os.walk('walked'): print(names)
shutil.copytree('templates', 'site')
open('named/new.txt', 'w')
";
    let tree = [
        ("p/s.py", source),
        ("p/listed/a.txt", ""),
        ("p/listed/sub/b.txt", ""),
        ("p/walked/a.txt", ""),
        ("p/walked/sub/b.txt", ""),
        ("p/templates/t/x.html", ""),
        ("p/named/old.txt", ""),
        ("p/site/stale.html", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/listed/a.txt: literal s.py:3
    /p/listed/sub/: literal s.py:3
    /p/named/: literal s.py:6
    /p/s.py: program
    /p/site/: literal s.py:5
    /p/templates/t/x.html: literal s.py:5
    /p/walked/a.txt: literal s.py:4
    /p/walked/sub/b.txt: literal s.py:4
    "#);
}

#[test]
fn defaults_of_options_and_parameters_are_followed() {
    let source = "
import argparse
from pathlib import Path
ap = argparse.ArgumentParser()
ap.add_argument('--config', default='config.yml')
ap.add_argument('-d', '--data-dir', type=Path, default=Path('data'))
args = ap.parse_args()
for p in args.data_dir.glob('*.csv'): print(p)
def load(name, folder='extra'):
    return (Path(folder) / name).read_text()
load('x.txt')
class Store:
    def __init__(self, base): self.base = Path(base)
    def all(self): return list(self.base.iterdir())
Store('store').all()
";
    let tree = [
        ("p/s.py", source),
        ("p/config.yml", ""),
        ("p/data/1.csv", ""),
        ("p/extra/x.txt", ""),
        ("p/extra/y.txt", ""),
        ("p/store/k", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/config.yml: literal s.py:5
    /p/data/1.csv: literal s.py:8
    /p/extra/: literal s.py:9
    /p/s.py: program
    /p/store/k: literal s.py:14
    "#);
}

#[test]
fn lists_and_dictionaries_of_names_are_followed() {
    let source = "
import os
FILES = ['a.csv', 'b.csv']
TABLES = {'one': 'c.csv', 'two': 'd.csv'}
for f in FILES:
    print(open(os.path.join('data', f)).read())
print(open('data/' + TABLES['one']).read())
";
    let tree = [
        ("p/s.py", source),
        ("p/data/a.csv", ""),
        ("p/data/b.csv", ""),
        ("p/data/c.csv", ""),
        ("p/data/d.csv", ""),
        ("p/data/e.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/data/a.csv: literal s.py:6
    /p/data/b.csv: literal s.py:6
    /p/data/c.csv: literal s.py:7
    /p/data/d.csv: literal s.py:7
    /p/s.py: program
    "#);
}

#[test]
fn constants_of_a_local_settings_module_are_followed() {
    let tree = [
        (
            "p/s.py",
            "import settings\nfrom settings import DATA_DIR as D\nopen(D / 'x.csv'); open(settings.LOGO)",
        ),
        (
            "p/settings.py",
            "from pathlib import Path\nDATA_DIR = Path(__file__).parent / 'data'\nLOGO = DATA_DIR / 'logo.png'",
        ),
        ("p/data/x.csv", ""),
        ("p/data/logo.png", ""),
        ("p/data/y.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/data/logo.png: literal settings.py:3
    /p/data/x.csv: literal s.py:3
    /p/s.py: program
    /p/settings.py: import s.py:1
    "#);
}

#[test]
fn a_database_a_template_and_a_child_script_travel() {
    let source = "
import sqlite3, subprocess, sys, os
db = sqlite3.connect('app.db')
subprocess.run([sys.executable, 'worker.py', '--fast'], check=True)
os.system('python3 shell.py input.txt')
subprocess.run([sys.executable, '-m', 'jobs.nightly'])
";
    let tree = [
        ("p/s.py", source),
        ("p/app.db", ""),
        ("p/worker.py", "import common\nopen('worker.cfg')"),
        ("p/common.py", ""),
        ("p/worker.cfg", ""),
        ("p/shell.py", ""),
        ("p/input.txt", ""),
        ("p/jobs/nightly.py", ""),
        ("p/jobs/weekly.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/app.db: literal s.py:3
    /p/common.py: import worker.py:1
    /p/input.txt: literal s.py:5
    /p/jobs/nightly.py: import s.py:6
    /p/s.py: program
    /p/shell.py: literal s.py:5
    /p/worker.cfg: literal worker.py:2
    /p/worker.py: literal s.py:4
    "#);
}

#[test]
fn outputs_of_the_run_before_stay_unless_they_are_named() {
    let tree = [
        (
            "p/s.py",
            "from pathlib import Path\nout = Path('out'); out.mkdir(exist_ok=True)\n(out / f'{1+1}.txt').write_text('')\nopen('summary.txt', 'w')",
        ),
        ("p/out/2.txt", ""),
        ("p/summary.txt", ""),
        ("p/result.png", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/out/: literal s.py:2
    /p/s.py: program
    /p/summary.txt: literal s.py:4
    "#);
}

#[test]
fn what_lies_outside_the_project_is_named_and_stays() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/s.py", "open('../elsewhere.csv'); open('/etc/hostname'); open('../p/in.csv')"),
        ("p/in.csv", ""),
        ("elsewhere.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/in.csv: literal s.py:1
    /p/s.py: program
    NOT /elsewhere.csv: OutsideProject (literal s.py:1)
    "#);
}

#[test]
fn unicode_names_spaces_and_escapes_are_found() {
    let tree = [
        ("p/s.py", "open('données/été 2024.csv'); open('caf\\u00e9.txt'); open(r'raw\\name.txt')"),
        ("p/données/été 2024.csv", ""),
        ("p/café.txt", ""),
        ("p/raw\\name.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/café.txt: literal s.py:1
    /p/données/été 2024.csv: literal s.py:1
    /p/raw\name.txt: literal s.py:1
    /p/s.py: program
    "#);
}

#[test]
fn a_script_that_lists_its_own_folder_gets_it() {
    let tree = [
        ("p/s.py", "from pathlib import Path\nprint(sorted(p.name for p in Path('.').iterdir()))"),
        ("p/a.txt", ""),
        ("p/.hidden", ""),
        ("p/sub/b.txt", ""),
        ("p/.venv/pyvenv.cfg", ""),
        ("p/__pycache__/s.cpython-311.pyc", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/.hidden: literal s.py:2
    /p/a.txt: literal s.py:2
    /p/s.py: program
    /p/sub/: literal s.py:2
    NOT /p/.venv: NeverSent (literal s.py:2)
    "#);
}

#[test]
fn a_walk_over_the_home_folder_is_not_taken_literally() {
    let tree = [("home/s.py", "import os\nfor x in os.walk('.'): print(x)"), ("home/photo.jpg", "")];
    insta::assert_snapshot!(check(&tree, "cd home; s.py"), @r#"
    /home/s.py: program
    NOT /home: WholeDisk (literal s.py:2)
    "#);
}

#[test]
fn files_that_belong_together_travel_together() {
    let tree = [
        ("p/s.py", "import sqlite3\nsqlite3.connect('app.db')\nread('map/lakes.shp')"),
        ("p/app.db", ""),
        ("p/app.db-wal", ""),
        ("p/app.db-shm", ""),
        ("p/map/lakes.shp", ""),
        ("p/map/lakes.dbf", ""),
        ("p/map/rivers.dbf", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/app.db: literal s.py:2
    /p/app.db-wal: literal s.py:2
    /p/map/lakes.dbf: literal s.py:3
    /p/map/lakes.shp: literal s.py:3
    /p/s.py: program
    "#);
}

#[test]
fn a_join_with_an_unknown_start_falls_back_to_its_literals() {
    let tree = [
        (
            "p/s.py",
            "import sys, os\nopen(os.path.join(sys.argv[1], 'x.csv')); open(unknown / 'y.csv'); open(sys.argv[1] + '.z')",
        ),
        ("p/x.csv", ""),
        ("p/y.csv", ""),
        ("p/.z", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/.z: literal s.py:2
    /p/s.py: program
    /p/x.csv: literal s.py:2
    /p/y.csv: literal s.py:2
    "#);
}

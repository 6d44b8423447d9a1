//! What a person reads of the installation of their packages: `rgrid logs ID --packages`. The packages are their own, with
//! a build backend of their own, so that no index is needed for them.

use std::fs;

use crate::grid::Grid;
use crate::project::Ended;
use crate::uv;

/// Of a package whose version decides how its build goes.
const PROJECT: &str = "\
[project]
name = 'greeting'
version = 'VERSION'
[build-system]
requires = []
build-backend = 'backend'
backend-path = ['.']
";

/// Makes a wheel, or fails with many words; among them all that a build knows of the person's indexes.
const BACKEND: &str = "\
import pathlib, zipfile
def build_wheel(folder, *_):
    version = pathlib.Path('pyproject.toml').read_text().split(\"version = '\")[1].split(\"'\")[0]
    print('an index wants', pathlib.Path('/rgrid/netrc').read_text())
    if version != '1.0':
        for step in range(2000):
            print(f'step {step} of the build')
        raise SystemExit('it cannot be built: no compiler')
    about = f'greeting-{version}.dist-info/'
    files = {
        'greeting.py': \"WORD = 'hello'\\n\",
        about + 'METADATA': f'Metadata-Version: 2.1\\nName: greeting\\nVersion: {version}\\n',
        about + 'WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n',
    }
    files[about + 'RECORD'] = ''.join(name + ',,\\n' for name in [*files, about + 'RECORD'])
    name = f'greeting-{version}-py3-none-any.whl'
    with zipfile.ZipFile(pathlib.Path(folder, name), 'w') as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
";

/// The person's own index, where nobody listens: it is never asked.
const INDEX: &str = "http://me:hunter22@127.0.0.1:9/simple";

struct Person {
    grid: Grid,
}

impl Person {
    fn new() -> Self {
        let grid = Grid::new();
        let library = grid.work().join("library");
        fs::create_dir(&library).unwrap();
        fs::write(library.join("backend.py"), BACKEND).unwrap();
        grid.script("requirements.txt", "./library\n");
        grid.script("s.py", "import greeting\nprint(greeting.WORD)\n");
        Self { grid }
    }

    fn has_version(&self, version: &str) {
        let project = PROJECT.replace("VERSION", version);
        fs::write(self.grid.work().join("library/pyproject.toml"), project).unwrap();
    }

    /// `rgrid WORDS`, which says nothing of the person's password.
    fn types(&self, words: &[&str]) -> Ended {
        let mut command = self.grid.rgrid(words);
        let path = command.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, path)| path);
        let folders = uv::path().parent().map(std::path::Path::to_owned).into_iter();
        let folders: Vec<_> = folders.chain(std::env::split_paths(path.unwrap())).collect();
        command.env("PATH", std::env::join_paths(folders).unwrap()).env("PIP_INDEX_URL", INDEX);
        let ended = Ended::of(command.output().unwrap());
        assert!(!format!("{ended:?}").contains("hunter22"), "{ended:?}");
        ended
    }
}

#[test]
fn what_is_said_while_packages_are_installed_can_be_read_whole_and_without_a_password() {
    let person = Person::new();
    person.has_version("1.0");
    let run = ["run", "--no-network", "s.py"];
    person.types(&run).printed("hello\n");
    let built = person.types(&["logs", "last", "--packages"]);
    assert_eq!((built.code, built.stderr.as_str()), (Some(0), ""), "{built:?}");
    assert!(built.stdout.contains("\n + greeting==1.0 (from file://"), "{built:?}");

    person.types(&run).printed("hello\n");
    let kept = person.types(&["logs", "last", "--packages"]);
    kept.printed(&built.stdout);
    let sentence = "rgrid: its packages were there already; this is what was said when they were installed\n";
    assert_eq!(kept.stderr, sentence);

    person.has_version("2.0");
    let failed = person.types(&run);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(125), ""), "{failed:?}");
    assert!(failed.stderr.contains("could not be installed:\n  [...] step "), "{failed:?}");
    assert!(failed.stderr.contains("no compiler") && !failed.stderr.contains("step 7 of"), "{failed:?}");
    let next = failed.next().strip_prefix("`rgrid ").unwrap().split('`').next().unwrap();
    let words: Vec<&str> = next.split(' ').collect();
    assert!(words.len() == 3 && words[0] == "logs" && words[2] == "--packages", "{next}");
    let status = person.types(&["status", words[1]]);
    assert!(
        status.stdout.contains("\nwhy        its packages could not be installed:\n           "),
        "{status:?}"
    );
    let lines: Vec<&str> = status.stdout.lines().map(str::trim_start).collect();
    assert!(lines.contains(&"it cannot be built: no compiler"), "{status:?}");
    let whole = person.types(&words);
    assert_eq!((whole.code, whole.stderr.as_str()), (Some(0), ""), "{whole:?}");
    let lines: Vec<&str> = whole.stdout.lines().map(str::trim_start).collect();
    let steps: Vec<String> = (0..2000).map(|step| format!("step {step} of the build")).collect();
    let first = lines.iter().position(|line| *line == steps[0]).unwrap();
    assert_eq!(lines[first..first + steps.len()], steps);
    assert!(lines.contains(&"an index wants machine 127.0.0.1 login me password ***"), "{whole:?}");
    assert!(lines.contains(&"it cannot be built: no compiler"), "{whole:?}");

    person.grid.script("plain.py", "print('plain')\n");
    person.types(&["run", "--no-network", "plain.py"]).printed("plain\n");
    let plain = person.types(&["logs", "last", "--packages"]);
    plain.printed("");
    assert_eq!(plain.stderr, "rgrid: it has no packages: nothing was installed for it\n");
}

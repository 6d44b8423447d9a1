//! Local modules, found by following imports.

use super::check;

#[test]
fn local_modules_are_followed_and_others_are_named() {
    let tree = [
        (
            "p/s.py",
            "import os, sys, json\nimport numpy as np\nfrom helper import clean\ntry:\n    import orjson\nexcept ImportError:\n    orjson = None",
        ),
        ("p/helper.py", "import deeper\nimport pandas"),
        ("p/deeper.py", ""),
        ("p/unused.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/deeper.py: import helper.py:1
    /p/helper.py: import s.py:3
    /p/s.py: program
    needs numpy: s.py:2
    needs orjson (optional): s.py:5
    needs pandas: helper.py:2
    "#);
}

#[test]
fn a_package_travels_whole() {
    let tree = [
        ("p/s.py", "from pkg.core import run"),
        ("p/pkg/__init__.py", ""),
        ("p/pkg/core.py", "from . import sibling\nfrom .sub.leaf import x\nfrom ..nowhere import y"),
        ("p/pkg/sibling.py", ""),
        ("p/pkg/sub/__init__.py", ""),
        ("p/pkg/sub/leaf.py", "import top"),
        ("p/pkg/plugins/dynamic.py", ""),
        ("p/pkg/data/table.json", ""),
        ("p/pkg/__pycache__/core.cpython-311.pyc", ""),
        ("p/top.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/pkg/__init__.py: import s.py:1
    /p/pkg/core.py: import s.py:1
    /p/pkg/data/table.json: import s.py:1
    /p/pkg/plugins/dynamic.py: import s.py:1
    /p/pkg/sibling.py: import s.py:1
    /p/pkg/sub/__init__.py: import s.py:1
    /p/pkg/sub/leaf.py: import s.py:1
    /p/s.py: program
    /p/top.py: import leaf.py:1
    "#);
}

#[test]
fn of_a_namespace_only_what_is_imported_travels() {
    let tree = [
        ("p/s.py", "from src.clean import f\nfrom src import plots\nimport data"),
        ("p/src/clean.py", "from src.deep.io import g"),
        ("p/src/plots.py", ""),
        ("p/src/deep/io.py", ""),
        ("p/src/unused.py", ""),
        ("p/data/big.csv", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/s.py: program
    /p/src/clean.py: import s.py:1
    /p/src/deep/io.py: import clean.py:1
    /p/src/plots.py: import s.py:2
    needs data: s.py:3
    "#);
}

#[test]
fn a_module_is_run_with_the_working_directory_on_the_path() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/pkg/__init__.py", ""),
        ("p/pkg/mod.py", "from .other import x\nimport tools\nopen('x.txt')"),
        ("p/pkg/other.py", ""),
        ("p/tools.py", ""),
        ("p/x.txt", ""),
    ];
    insta::assert_snapshot!(check(&tree, "-m pkg.mod --flag"), @r#"
    /p/pkg/__init__.py: program
    /p/pkg/mod.py: program
    /p/pkg/other.py: program
    /p/tools.py: import mod.py:2
    /p/x.txt: literal mod.py:3
    "#);
}

#[test]
fn a_package_with_a_main_is_run_by_it() {
    let tree = [
        ("p/app/__init__.py", ""),
        ("p/app/__main__.py", "from app.cli import main\nimport beside"),
        ("p/app/cli.py", ""),
        ("p/beside.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "-m app"), @r#"
    /p/app/__init__.py: program
    /p/app/__main__.py: program
    /p/app/cli.py: program
    /p/beside.py: import __main__.py:2
    "#);
}

#[test]
fn a_module_of_the_standard_library_needs_nothing_here() {
    insta::assert_snapshot!(check(&[("p/x.json", "{}")], "-m json.tool x.json"), @"/p/x.json: argument 1");
}

#[test]
fn a_folder_with_a_main_is_a_script() {
    let tree = [("p/app/__main__.py", "import part"), ("p/app/part.py", ""), ("p/app/x.txt", "")];
    insta::assert_snapshot!(check(&tree, "app arg"), @r#"
    /p/app/__main__.py: program
    /p/app/part.py: program
    /p/app/x.txt: program
    "#);
}

#[test]
fn imports_by_a_literal_name_count() {
    let tree = [
        (
            "p/s.py",
            "import importlib\nimportlib.import_module('plugins.one')\n__import__('two')\nimportlib.import_module(name)",
        ),
        ("p/plugins/__init__.py", ""),
        ("p/plugins/one.py", "import three"),
        ("p/two.py", ""),
        ("p/three.py", ""),
        ("p/four.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/plugins/__init__.py: import s.py:2
    /p/plugins/one.py: import s.py:2
    /p/s.py: program
    /p/three.py: import one.py:1
    /p/two.py: import s.py:3
    "#);
}

#[test]
fn folders_that_a_script_adds_to_its_path_are_searched() {
    let source = "
import sys, os
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent.parent / 'lib'))
sys.path.append(os.path.join(os.path.dirname(__file__), '..', 'more'))
import inlib, inmore
";
    let tree = [
        ("p/.git/HEAD", ""),
        ("p/bin/s.py", source),
        ("p/lib/inlib.py", "import second"),
        ("p/lib/second.py", ""),
        ("p/more/inmore.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "bin/s.py"), @r#"
    /p/bin/s.py: program
    /p/lib/inlib.py: import s.py:6
    /p/lib/second.py: import inlib.py:1
    /p/more/inmore.py: import s.py:6
    "#);
}

#[test]
fn a_local_file_hides_the_module_of_the_standard_library() {
    let tree =
        [("p/s.py", "import random, csv"), ("p/random.py", "import queue_like"), ("p/queue_like.py", "")];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/queue_like.py: import random.py:1
    /p/random.py: import s.py:1
    /p/s.py: program
    "#);
}

#[test]
fn compiled_modules_and_circular_imports_are_no_trouble() {
    let tree = [
        ("p/s.py", "import fast, a"),
        ("p/fast.abi3.so", ""),
        ("p/a.py", "import b"),
        ("p/b.py", "import a, s"),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/a.py: import s.py:1
    /p/b.py: import a.py:1
    /p/fast.abi3.so: import s.py:1
    /p/s.py: program
    "#);
}

#[test]
fn a_script_in_a_package_run_from_another_folder_finds_its_neighbours() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/pkg/__init__.py", ""),
        ("p/pkg/s.py", "import neighbour\nfrom pkg import late"),
        ("p/pkg/neighbour.py", ""),
        ("p/pkg/late.py", ""),
        ("else/", ""),
    ];
    insta::assert_snapshot!(check(&tree, "cd else; ../p/pkg/s.py"), @r#"
    /p/pkg/neighbour.py: import s.py:1
    /p/pkg/s.py: program
    needs pkg: s.py:2
    "#);
}

#[test]
fn a_linked_script_looks_beside_the_file_it_is() {
    let tree =
        [("p/run.py -> ../tools/real.py", ""), ("tools/real.py", "import part"), ("tools/part.py", "")];
    insta::assert_snapshot!(check(&tree, "run.py"), @r#"
    /p/run.py -> ../tools/real.py: program
    /tools/part.py: import run.py:1
    /tools/real.py: target of /p/run.py
    "#);
}

#[test]
fn a_test_runner_gets_the_working_directory() {
    let tree = [
        ("p/pyproject.toml", ""),
        ("p/.gitignore", "dist/\n"),
        ("p/pkg/__init__.py", ""),
        ("p/tests/test_pkg.py", "import pkg, hypothesis"),
        ("p/tests/conftest.py", ""),
        ("p/dist/x.whl", ""),
        ("p/.venv/pyvenv.cfg", ""),
    ];
    insta::assert_snapshot!(check(&tree, "-m pytest -q tests"), @r#"
    /p/.gitignore: program
    /p/pkg/__init__.py: program
    /p/pyproject.toml: program
    /p/tests/conftest.py: argument 2
    /p/tests/test_pkg.py: argument 2
    NOT /p/.venv: NeverSent (program)
    NOT /p/dist: /p/.gitignore has dist/ (program)
    "#);
}

#[test]
fn a_script_that_is_started_by_another_finds_its_neighbours() {
    let tree = [
        ("p/s.py", "import subprocess, sys\nsubprocess.run([sys.executable, 'tools/child.py'])"),
        ("p/tools/child.py", "import neighbour"),
        ("p/tools/neighbour.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/s.py: program
    /p/tools/child.py: literal s.py:2
    /p/tools/neighbour.py: import child.py:1
    "#);
    insta::assert_snapshot!(check(&tree, "-m cProfile tools/child.py"), @r#"
    /p/tools/child.py: argument 1
    /p/tools/neighbour.py: import child.py:1
    "#);
}

#[test]
fn an_ignored_module_stays_and_is_named() {
    let tree = [
        ("p/.gitignore", "secrets_local.py\n"),
        ("p/s.py", "import secrets_local"),
        ("p/secrets_local.py", ""),
    ];
    insta::assert_snapshot!(check(&tree, "s.py"), @r#"
    /p/s.py: program
    NOT /p/secrets_local.py: /p/.gitignore has secrets_local.py (import s.py:1)
    "#);
    insta::assert_snapshot!(check(&tree, "--input secrets_local.py s.py"), @r#"
    /p/s.py: program
    /p/secrets_local.py: --input
    "#);
}

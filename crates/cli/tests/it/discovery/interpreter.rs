//! Which Python the user would get.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rgrid_cli::discovery::interpreter::{Interpreter, InterpreterError, Place, Source, Variables, find};

use super::Tree;

/// A program that answers as a Python of version 3.`minor`, and writes down each start.
fn python(tree: &Tree, path: &str, minor: u8) {
    let path = tree.path(path);
    let script = format!(
        "#!/bin/sh\necho x >> {}\nprintf 'rgrid\\n3.{minor}\\n{}\\n/prefix\\n/base\\n'\n",
        tree.path("starts").display(),
        path.display()
    );
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn starts(tree: &Tree) -> usize {
    fs::read_to_string(tree.path("starts")).unwrap_or_default().lines().count()
}

fn look(tree: &Tree, variables: &Variables) -> Result<Interpreter, InterpreterError> {
    let (script_folder, root, cache) = (tree.path("p/a/b"), tree.path("p"), tree.path("cache"));
    let place = Place { script_folder: &script_folder, root: &root, cwd: &root, cache_folder: Some(&cache) };
    find(place, variables)
}

fn path_of(folders: &[PathBuf]) -> Variables {
    Variables { path: Some(std::env::join_paths(folders).unwrap()), ..Variables::default() }
}

/// Where it was found, with the tree's folder cut off.
fn found(tree: &Tree, variables: &Variables) -> String {
    let interpreter = look(tree, variables).unwrap();
    let path = interpreter.path.strip_prefix(tree.top()).unwrap().display().to_string();
    format!("{path} 3.{} {:?}", interpreter.minor, interpreter.source)
        .replace(tree.top().to_str().unwrap(), "")
}

#[test]
fn the_environment_named_by_the_shell_wins_then_dot_venv_then_conda_then_path() {
    let tree = Tree::new(&[("p/a/b/", "")]);
    python(&tree, "bin/python3", 10);
    python(&tree, "conda/bin/python", 11);
    python(&tree, "p/.venv/bin/python", 12);
    python(&tree, "p/a/.venv/bin/python3", 13);
    python(&tree, "active/bin/python", 14);
    let mut variables = path_of(&[tree.path("nowhere"), tree.path("bin")]);
    variables.conda_prefix = Some(tree.path("conda"));
    variables.virtual_env = Some(tree.path("active"));
    insta::assert_snapshot!(found(&tree, &variables), @"active/bin/python 3.14 VirtualEnv");
    variables.virtual_env = Some(tree.path("gone"));
    insta::assert_snapshot!(found(&tree, &variables), @r#"p/a/.venv/bin/python3 3.13 DotVenv("/p/a/.venv")"#);
    fs::remove_dir_all(tree.path("p/a/.venv")).unwrap();
    insta::assert_snapshot!(found(&tree, &variables), @r#"p/.venv/bin/python 3.12 DotVenv("/p/.venv")"#);
    fs::remove_dir_all(tree.path("p/.venv")).unwrap();
    insta::assert_snapshot!(found(&tree, &variables), @"conda/bin/python 3.11 Conda");
    variables.conda_prefix = None;
    insta::assert_snapshot!(found(&tree, &variables), @"bin/python3 3.10 Path");
    variables.path = None;
    assert!(matches!(look(&tree, &variables), Err(InterpreterError::NotFound)));
}

#[test]
fn a_dot_venv_above_the_project_is_another_ones() {
    let tree = Tree::new(&[("p/a/b/", "")]);
    python(&tree, ".venv/bin/python", 12);
    python(&tree, "bin/python3", 10);
    insta::assert_snapshot!(found(&tree, &path_of(&[tree.path("bin")])), @"bin/python3 3.10 Path");
}

#[test]
fn a_pyenv_shim_is_resolved_without_being_started() {
    let tree = Tree::new(&[
        ("p/a/b/", ""),
        ("pyenv/version", "3.11.7\n"),
        ("p/.python-version", "# ours\n3.12\n3.10.1\n"),
    ]);
    for (version, minor) in [("3.10.1", 10), ("3.11.7", 11), ("3.12.9", 12), ("3.12.10", 12)] {
        python(&tree, &format!("pyenv/versions/{version}/bin/python3"), minor);
    }
    python(&tree, "pyenv/shims/python3", 0);
    python(&tree, "bin/python3", 13);
    let mut variables = path_of(&[tree.path("pyenv/shims"), tree.path("bin")]);
    insta::assert_snapshot!(found(&tree, &variables), @"pyenv/versions/3.12.10/bin/python3 3.12 Path");
    fs::remove_file(tree.path("p/.python-version")).unwrap();
    insta::assert_snapshot!(found(&tree, &variables), @"pyenv/versions/3.11.7/bin/python3 3.11 Path");
    variables.pyenv_version = Some("2.7.18:3.10.1".into());
    insta::assert_snapshot!(found(&tree, &variables), @"pyenv/versions/3.10.1/bin/python3 3.10 Path");
    variables.pyenv_version = Some("system".into());
    insta::assert_snapshot!(found(&tree, &variables), @"bin/python3 3.13 Path");
}

#[test]
fn a_real_python_is_asked_once_and_again_when_it_changed() {
    let tree = Tree::new(&[("p/a/b/", ""), ("bin/", "")]);
    let real = look(&tree, &Variables::of_process()).unwrap();
    assert!(
        real.prefix.is_dir() && real.runtime().is_some() && !real.path.parent().unwrap().ends_with("shims")
    );
    // A program that is no wrapper script, and that we can change: a copy of a real Python's link.
    let link = tree.path("bin/python3");
    std::os::unix::fs::symlink(real.path.canonicalize().unwrap(), &link).unwrap();
    let variables = path_of(&[tree.path("bin")]);
    let first = look(&tree, &variables).unwrap();
    assert_eq!((first.source.clone(), first.minor), (Source::Path, real.minor));
    let answers = tree.path("cache/interpreters.json");
    let text = fs::read_to_string(&answers).unwrap();
    // What is remembered is believed: so no process was started.
    let other = real.minor + 1;
    fs::write(&answers, text.replace(&format!("\"minor\":{}", real.minor), &format!("\"minor\":{other}")))
        .unwrap();
    assert_eq!(look(&tree, &variables).unwrap().minor, other);
    fs::write(&answers, "{damaged").unwrap();
    assert_eq!(look(&tree, &variables).unwrap().minor, real.minor);
}

#[test]
fn a_wrapper_script_is_asked_each_time() {
    let tree = Tree::new(&[("p/a/b/", "")]);
    python(&tree, "bin/python3", 10);
    let variables = path_of(&[tree.path("bin")]);
    look(&tree, &variables).unwrap();
    python(&tree, "bin/python3", 11);
    assert_eq!(look(&tree, &variables).unwrap().minor, 11);
    assert_eq!(starts(&tree), 2);
}

#[test]
fn an_interpreter_that_does_not_run_is_named() {
    let tree = Tree::new(&[
        ("p/a/b/", ""),
        ("bin/python3", "#!/bin/sh\necho 'libpython3.12.so: not found' >&2\nexit 127\n"),
    ]);
    fs::set_permissions(tree.path("bin/python3"), fs::Permissions::from_mode(0o755)).unwrap();
    let error = look(&tree, &path_of(&[tree.path("bin")])).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(tree.top().to_str().unwrap(), ""), @"/bin/python3 does not run: libpython3.12.so: not found");
    fs::write(tree.path("bin/python3"), "#!/bin/sh\nprintf 'rgrid\\n2.7\\n/x\\n/x\\n/x\\n'\n").unwrap();
    let error = look(&tree, &path_of(&[tree.path("bin")])).unwrap_err().to_string();
    insta::assert_snapshot!(error.replace(tree.top().to_str().unwrap(), ""), @"/bin/python3 does not run: it is Python 2.7, and Python 3 is needed");
    assert!(Path::new(&tree.path("starts")).metadata().is_err());
}

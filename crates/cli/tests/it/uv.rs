//! uv for tests: the one on PATH, else the pinned wheel, unpacked once into `target/tools`. Without it a test fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// As `xtask` and the embedded grid pin it.
const VERSION: &str = "0.13.9";

/// Where it is.
pub(crate) fn path() -> PathBuf {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> PathBuf {
    let on_path = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("uv"))
        .find(|program| program.is_file());
    if let Some(program) = on_path {
        return program;
    }
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools");
    let folder = tools.join(format!("uv-{VERSION}"));
    let program = folder.join("bin/uv");
    if !program.is_file() {
        std::fs::create_dir_all(&tools).expect("target/ can be written");
        // Beside its place and then renamed: another test process may do the same now.
        let aside = tempfile::tempdir_in(&tools).expect("target/ can be written");
        // Debian's Python has no pip of its own; that of a virtual environment is there with python3-venv.
        let (environment, wheel) = (aside.path().join("environment"), aside.path().join("wheel"));
        let made = Command::new("python3").args(["-m", "venv"]).arg(&environment).status();
        assert!(made.expect("there is a python3").success(), "the tests need python3-venv");
        let installed = Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
            .arg(&wheel)
            .arg(format!("uv=={VERSION}"))
            .status()
            .expect("a virtual environment has a python");
        assert!(installed.success(), "the tests need uv from the configured Python package index");
        let _ = std::fs::rename(&wheel, &folder);
    }
    assert!(program.is_file(), "uv is not where pip puts it");
    program
}

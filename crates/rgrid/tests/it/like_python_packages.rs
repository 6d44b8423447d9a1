//! The same proof with packages: each folder of `tests/like_python_packages` declares them in another way, or not at all,
//! and is run once by the python of a fitting virtual environment and once by `rgrid run`.
//!
//! Its `case.toml` holds beside what `like_python` knows: `install` and `editable` (what pip would put into the
//! environment; a path begins with a dot), `venv` (where that lies in the folder; else `rgrid` does not see it), and
//! `options` (of `rgrid run`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::grid::{Grid, text};
use crate::like_python::{Case, cases_in, texts};
use crate::tools::with_this_machines_index;
use crate::uv;

/// Downloads and builds are kept here between runs.
fn uv_cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/uv-cache")
}

struct Packages {
    install: Vec<String>,
    editable: Vec<String>,
    venv: Option<String>,
    options: Vec<String>,
}

impl Packages {
    fn read(case: &Case) -> Self {
        let list = |key: &str| case.table.get(key).map(texts).unwrap_or_default();
        let venv = case.table.get("venv").map(|venv| venv.as_str().unwrap().to_owned());
        Self { install: list("install"), editable: list("editable"), venv, options: list("options") }
    }

    /// Makes the environment as a person would, and answers its interpreter.
    fn environment(&self, grid: &Grid, case: &Case, place: &Path) -> PathBuf {
        let folder = match &self.venv {
            Some(name) => place.join(name),
            None => grid.work().join("environments").join(&case.name),
        };
        let python = folder.join("bin/python");
        let uv = |args: &[&str]| {
            let mut command = with_this_machines_index(Command::new(uv::path()));
            command.args(args).current_dir(place).env("UV_CACHE_DIR", uv_cache());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}: {args:?}: {}", case.name, text(&output.stderr));
        };
        let (base, at) = (grid.python(), folder.to_str().unwrap());
        uv(&["venv", "--clear", "--python", base.to_str().unwrap(), at]);
        let editable: Vec<String> =
            self.editable.iter().flat_map(|path| ["-e".to_owned(), format!("./{path}")]).collect();
        let wanted = self.install.iter().chain(&editable).map(String::as_str);
        let install = ["pip", "install", "--python", python.to_str().unwrap()];
        uv(&install.into_iter().chain(wanted).collect::<Vec<_>>());
        python
    }
}

#[test]
fn every_script_with_packages_behaves_as_in_its_environment() {
    check(&Grid::new(), &[]);
}

/// Runs every case by python and, with these options, by `rgrid run`.
pub(crate) fn check(grid: &Grid, more: &[&str]) {
    let count = compare(grid, more, |_| true);
    assert!(count >= 15 || std::env::var_os("RGRID_CASE").is_some(), "there are {count} cases");
}

/// The same with those whose name is asked for; answers how many there were.
pub(crate) fn compare(grid: &Grid, more: &[&str], asked_for: impl Fn(&str) -> bool) -> usize {
    assert!(grid.has_network(), "packages come from an index: /dev/net/tun must be there");
    let place = grid.work().join("case");
    let mut failures = String::new();
    let mut count = 0;
    for case in cases_in("like_python_packages").filter(|case| asked_for(&case.name)) {
        count += 1;
        let packages = Packages::read(&case);
        let args: Vec<&str> = case.args.iter().map(String::as_str).collect();
        let plain = case.run(grid, &place, || {
            let python = packages.environment(grid, &case, &place);
            let mut plain = grid.program(&python, &args);
            plain.env("PYTHONUNBUFFERED", "1");
            plain
        });
        let ours = case.run(grid, &place, || {
            if packages.venv.is_some() {
                packages.environment(grid, &case, &place);
            }
            let mut ours = with_this_machines_index(grid.rgrid(&["run", "--quiet"]));
            ours.args(more);
            let path = std::env::var_os("PATH").unwrap_or_default();
            let folders = uv::path().parent().map(Path::to_owned).into_iter();
            let known = ours.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value);
            let known = known.map_or(path, std::ffi::OsStr::to_owned);
            let folders = folders.chain(std::env::split_paths(&known));
            let joined = std::env::join_paths(folders).unwrap();
            ours.env("PATH", joined).env("UV_CACHE_DIR", uv_cache());
            ours.args(&packages.options).args(&args);
            ours
        });
        failures.push_str(&case.difference(&plain, &ours));
    }
    assert!(failures.is_empty(), "of {count} cases these differ:\n{failures}\n{}", grid.log());
    count
}

//! Which python runs a script: the one that is active here, with what is installed in it.

use crate::project::{Ended, Project};

/// Tells who runs it, and uses a package that only the virtual environment has.
const ASKS: &str = "import friendly, sys\nprint(friendly.GREETING, sys.prefix)\n";

/// A virtual environment with a package of its own.
fn environment(project: &Project, name: &str) -> String {
    let made = Ended::of(project.shell(&format!("python3 -m venv --without-pip {name}")).output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let place = project
        .shell(&format!("{name}/bin/python -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'"));
    let place = { place }.output().unwrap();
    let packages = std::path::PathBuf::from(String::from_utf8(place.stdout).unwrap().trim());
    std::fs::create_dir(packages.join("friendly")).unwrap();
    std::fs::write(packages.join("friendly/__init__.py"), "GREETING = 'hello'\n").unwrap();
    project.path(name).to_str().unwrap().to_owned()
}

#[test]
fn the_environment_that_is_active_runs_the_script_with_its_packages() {
    let project = Project::with(&[("code/s.py", ASKS)]);
    let folder = environment(&project, "second");
    let run = project.shell("rgrid run code/s.py").env("VIRTUAL_ENV", &folder).output().unwrap();
    Ended::of(run).printed(&format!("hello {folder}\n"));
    let without = project.run(&["code/s.py"]);
    assert_eq!(without.code, Some(1), "another python has no such package");
    assert!(without.stderr.contains("No module named 'friendly'"), "{}", without.stderr);
}

#[test]
fn the_environment_of_the_project_runs_the_script_when_none_is_active() {
    let project = Project::with(&[("s.py", ASKS), ("pyproject.toml", "")]);
    let folder = environment(&project, ".venv");
    project.run(&["s.py"]).printed(&format!("hello {folder}\n"));
}

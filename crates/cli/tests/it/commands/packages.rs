//! Packages, locked with the real uv from the real index.

use super::harness::Grid;

const SCRIPT: &str = "# /// script\n# dependencies = ['six==1.16.0', 'idna==3.7']\n# ///\nimport six, idna\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_locked_and_its_lock_travels() {
    let grid = Grid::start().await;
    grid.write("s.py", SCRIPT);
    let plan = grid.rgrid(&["run", "--dry-run", "s.py"]).end().await;
    assert!(
        plan.stdout.contains("  idna 3.7\n  six 1.16.0\n  as locked from the PEP 723 block of s.py"),
        "{plan:?}"
    );
    let run = grid.rgrid(&["run", "-d", "s.py"]).end().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("packages from the PEP 723 block of s.py (2, locked)"), "{}", run.stderr);
    // The second time no uv is started: the lock is remembered, with other words and in another order, too.
    let other = SCRIPT.replace("'six==1.16.0', 'idna==3.7'", "'idna==3.7', 'six==1.16.0'");
    grid.write("s.py", &format!("# mine\n{other}"));
    let locks = || std::fs::read_dir(grid.path("home/.rgrid/cache/locks")).unwrap().count();
    let before = locks();
    let again = grid.rgrid(&["run", "-d", "s.py"]).end().await;
    assert_eq!((again.code, locks()), (Some(0), before), "{}", again.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_solved_ends_the_command_before_there_is_an_execution() {
    let grid = Grid::start().await;
    grid.write("s.py", &SCRIPT.replace("idna==3.7", "idna==99.1"));
    let run = grid.rgrid(&["run", "-d", "s.py"]).end().await;
    assert_eq!(run.code, Some(125), "{}", run.stderr);
    assert!(run.stderr.contains("there is no version of idna==99.1"), "{}", run.stderr);
    let list = grid.rgrid(&["list", "--json"]).end().await;
    assert!(!list.stdout.contains("s.py"), "{}", list.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_imports_nothing_looks_for_no_packages() {
    let grid = Grid::start().await;
    grid.write("requirements.txt", "no-such-package-anywhere==1\n");
    grid.write("s.py", "import json\n");
    let run = grid.rgrid(&["run", "-d", "s.py"]).end().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(!run.stderr.contains("packages"), "{}", run.stderr);
    assert!(!grid.path("home/.rgrid/cache/locks").exists());
}

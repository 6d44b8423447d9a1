//! Environments: built once from a lock, kept, shared with other workers, and never used when they are damaged. Packages
//! come from the real index.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rgrid_api::dependencies::{DependenciesBody, EnvironmentLog, EnvironmentOriginBody, LocalPackageBody};
use rgrid_api::executions::{CreateExecution, Execution};
use rgrid_api::logs::Stream;
use rgrid_api::outcome::OutcomeBody;
use rgrid_core::dependencies::LOCK_PATH;

use crate::engine::{IMAGE, NEXT_IMAGE, engine};
use crate::grid::{Grid, PROJECT, Script};
use crate::ground::in_containers;
use crate::index::index;
use crate::world::{INTERNET, PRIVATE, listen_everywhere};

/// Shows which version it has, and where from.
const SHOWS: &str = "import six, sys; print(six.__version__, six.__file__, sys.prefix)";

fn needs(body: &mut CreateExecution) {
    body.dependencies = Some(DependenciesBody {
        source: "requirements.txt".to_owned(),
        lock: LOCK_PATH.to_owned(),
        local: Vec::new(),
        credentials: Default::default(),
    });
}

fn script(grid: &Grid, text: &str, lock: &str) -> Script {
    grid.script(text).file(LOCK_PATH, lock.as_bytes()).with(needs)
}

/// The environments that the worker keeps.
fn kept(grid: &Grid) -> Vec<PathBuf> {
    let accounts = std::fs::read_dir(grid.data.path().join("environments")).unwrap();
    accounts
        .flat_map(|account| std::fs::read_dir(account.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("size").is_file())
        .collect()
}

/// What builds have downloaded, by the name of its folder.
fn caches(grid: &Grid) -> Vec<String> {
    caches_in(grid.data.path())
}

fn caches_in(data: &Path) -> Vec<String> {
    let accounts = std::fs::read_dir(data.join("environments")).unwrap();
    accounts
        .flat_map(|account| std::fs::read_dir(account.unwrap().path()).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("cache"))
        .collect()
}

/// A worker that has never built anything has downloaded nothing.
fn has_built(grid: &Grid) -> bool {
    caches(grid).iter().any(|name| name == "cache")
}

/// Where the environment of an execution came from, and what was said when it was built.
async fn told(grid: &Grid, id: &str) -> (EnvironmentOriginBody, String) {
    let answer = grid.client.environment_log(id).await.unwrap();
    let EnvironmentLog::Told { origin, log: Some(log) } = answer else { panic!("it told {answer:?}") };
    (origin, String::from_utf8(log.0).unwrap())
}

fn failed(execution: &Execution) -> &str {
    match &execution.outcome {
        Some(OutcomeBody::DependenciesFailed { message }) => message,
        other => panic!("it ended with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_are_there_and_the_second_run_builds_nothing() {
    let grid = Grid::start().await;
    let script = script(&grid, SHOWS, "six==1.16.0\n");
    let mut said = Vec::new();
    for _ in 0..2 {
        let id = grid.submit(&script).await;
        let execution = grid.end(&id).await;
        assert_eq!(execution.exit_code, Some(0), "{execution:?}");
        said.push(told(&grid, &id).await);
        let printed = grid.log(&id, Stream::Stdout).await;
        assert!(printed.starts_with("1.16.0 /rgrid/env/lib/python"), "{printed}");
        assert!(printed.trim_end().ends_with(" /rgrid/env"), "{printed}");
        assert_eq!(kept(&grid).len(), 1);
    }
    let log = std::fs::read_to_string(kept(&grid)[0].join("log")).unwrap();
    assert!(log.contains("six==1.16.0"), "what uv said is kept: {log}");
    assert_eq!(said, [(EnvironmentOriginBody::Built, log.clone()), (EnvironmentOriginBody::Kept, log)]);
    let built = kept(&grid)[0].metadata().unwrap().created().unwrap();
    // What was said to one execution is masked for the next as that one's own output is.
    let secret = ("TOKEN".to_owned(), "six==1.16.0".to_owned());
    let id = grid.submit(&script.with(|body| body.environment.extend([secret]))).await;
    grid.end(&id).await;
    assert_eq!(kept(&grid)[0].metadata().unwrap().created().unwrap(), built);
    let (_, masked) = told(&grid, &id).await;
    assert!(masked.contains(" + ***\n") && !masked.contains("1.16"), "{masked}");
    grid.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_installed_is_said_and_harms_nobody() {
    let grid = Grid::start().await;
    let ended = grid.run(&script(&grid, SHOWS, "six==999.0\n")).await;
    assert!(failed(&ended).contains("six"), "{}", failed(&ended));
    assert_eq!(kept(&grid), Vec::<PathBuf>::new());
    let other = grid.run(&grid.script("print(1)")).await;
    assert_eq!(other.exit_code, Some(0));
    let retried = grid.run(&script(&grid, SHOWS, "six==1.16.0\n")).await;
    assert_eq!(retried.exit_code, Some(0), "{retried:?}");
    grid.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_ones_own_is_installed_where_it_lies() {
    let grid = Grid::start().await;
    let text = "import mine, importlib.metadata as m; print(mine.WORD, m.version('mine'), mine.__file__)";
    let project = "[project]\nname = 'mine'\nversion = '4.2'\n[build-system]\nrequires = ['setuptools']\n\
                   build-backend = 'setuptools.build_meta'\n[tool.setuptools.packages.find]\nwhere = ['src']\n";
    let script = script(&grid, text, &format!("-e {PROJECT}/lib\n"))
        .file(&format!("{PROJECT}/lib/pyproject.toml"), project.as_bytes())
        .file(&format!("{PROJECT}/lib/src/mine/__init__.py"), b"WORD = 'hello'\n")
        .with(|body| {
            let package = LocalPackageBody { path: format!("{PROJECT}/lib"), editable: true };
            body.dependencies.as_mut().unwrap().local.push(package);
        });
    let id = grid.submit(&script).await;
    let execution = grid.end(&id).await;
    assert_eq!(execution.exit_code, Some(0), "{execution:?} {}", grid.log(&id, Stream::Stderr).await);
    let printed = grid.log(&id, Stream::Stdout).await;
    assert_eq!(printed.trim_end(), format!("hello 4.2 {PROJECT}/lib/src/mine/__init__.py"));
    grid.stop().await;
}

/// What its package does while it is built, which takes several starts of it: it looks for what others planted where a
/// build can write, and plants.
const PLANTS: &str = "\
import os, pathlib
from setuptools import setup
places = ['/rgrid/cache', '/rgrid/env', '/rgrid', '/tmp', os.path.expanduser('~')]
seen = [str(file) for place in places for file in pathlib.Path(place).glob('planted-*') if file.name != 'planted-WHO']
for place in places:
    try:
        pathlib.Path(place, 'planted-WHO').write_text('planted')
    except OSError:
        pass
pathlib.Path('mine.py').write_text(f'SEEN = {seen!r}')
setup(name='mine', version='1', py_modules=['mine'])
";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_package_of_one_account_plants_is_seen_by_no_other() {
    let mut grid = Grid::start().await;
    let text = "import mine, glob; print(mine.SEEN, [f for p in ('/rgrid', '/rgrid/env', '/tmp') for f in glob.glob(p + '/planted-*')])";
    let plants = |grid: &Grid, who: &str| {
        script(grid, text, &format!("mine @ file://{PROJECT}/lib\n"))
            .file(&format!("{PROJECT}/lib/setup.py"), PLANTS.replace("WHO", who).as_bytes())
            .with(|body| {
                let package = LocalPackageBody { path: format!("{PROJECT}/lib"), editable: false };
                body.dependencies.as_mut().unwrap().local.push(package);
            })
    };
    let printed = async |grid: &Grid, script: &Script| {
        let id = grid.submit(script).await;
        let execution = grid.end(&id).await;
        assert_eq!(execution.exit_code, Some(0), "{execution:?} {}", grid.log(&id, Stream::Stderr).await);
        grid.log(&id, Stream::Stdout).await.trim_end().to_owned()
    };
    let first = plants(&grid, "ada");
    let fresh = printed(&grid, &first).await;
    assert_eq!(fresh, "[] ['/rgrid/env/planted-ada']");
    // An account's own builds share what they downloaded, and so what they planted there.
    let again = printed(&grid, &plants(&grid, "ada-again")).await;
    assert_eq!(again, "['/rgrid/cache/planted-ada'] ['/rgrid/env/planted-ada-again']");
    // Another account on the same worker, and then with the very same lock and package.
    grid.become_another_account().await;
    let theirs = printed(&grid, &plants(&grid, "bob")).await;
    assert_eq!(theirs, "[] ['/rgrid/env/planted-bob']");
    assert_eq!(kept(&grid).len(), 3);
    printed(&grid, &first).await;
    assert_eq!(kept(&grid).len(), 4, "each account has an environment of its own");
    grid.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_worker_fetches_what_the_first_has_built_unless_it_is_damaged() {
    let mut grid = Grid::of_workers().await;
    let script = script(&grid, SHOWS, "six==1.16.0\n");
    assert_eq!(grid.run(&script).await.exit_code, Some(0));
    assert!(has_built(&grid));
    let (origin, said) = told(&grid, "last").await;
    assert_eq!(origin, EnvironmentOriginBody::Built);

    grid.fresh_worker().await;
    assert_eq!(grid.run(&script).await.exit_code, Some(0));
    assert!(!has_built(&grid) && kept(&grid).len() == 1, "it was to be fetched");
    assert_eq!(told(&grid, "last").await, (EnvironmentOriginBody::Fetched, said));

    // The largest object is the packed environment.
    let objects = walk(&grid.objects());
    let packed = objects.into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&packed, bytes).unwrap();
    grid.fresh_worker().await;
    let ended = grid.run(&script).await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    assert!(has_built(&grid), "a damaged one was to be built again");

    grid.fresh_worker().await;
    assert_eq!(grid.run(&script).await.exit_code, Some(0));
    assert!(!has_built(&grid), "the one that replaced it was to be fetched");
    grid.stop().await;
}

/// Built slowly enough that both want it: its build takes several starts of Python and a tool from the index.
const SLOW: &str = "from setuptools import setup; setup(name='slow', version='1', py_modules=['slow'])";

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_that_need_an_environment_at_once_build_it_once() {
    let grid = Grid::of_workers().await;
    let (other, data) = grid.another_worker().await;
    let text = "import slow; print(slow.__file__)";
    let wants = |free: u32| {
        let package = LocalPackageBody { path: format!("{PROJECT}/lib"), editable: false };
        script(&grid, text, &format!("slow @ file://{PROJECT}/lib\n"))
            .file(&format!("{PROJECT}/lib/setup.py"), SLOW.as_bytes())
            .file(&format!("{PROJECT}/lib/slow.py"), b"")
            .with(|body| {
                body.dependencies.as_mut().unwrap().local.push(package);
                body.cpu_millis = Some(free);
            })
    };
    // Each takes all of a worker.
    let all = || std::thread::available_parallelism().unwrap().get() as u32 * 1000;
    let ids = [grid.submit(&wants(all())).await, grid.submit(&wants(all())).await];
    let mut workers = Vec::new();
    for id in &ids {
        let ended = grid.end(id).await;
        assert_eq!(ended.exit_code, Some(0), "{ended:?} {}", grid.log(id, Stream::Stderr).await);
        assert!(grid.log(id, Stream::Stdout).await.starts_with("/rgrid/env/lib/python"));
        workers.push(grid.client.attempts(id).await.unwrap().attempts[0].worker.clone());
    }
    assert_ne!(workers[0], workers[1]);
    let built = |data: &Path| usize::from(caches_in(data).iter().any(|name| name == "cache"));
    assert_eq!(built(grid.data.path()) + built(data.path()), 1);
    other.stop().await.unwrap();
    grid.stop().await;
}

#[test]
fn each_python_has_environments_of_its_own() {
    in_containers(async || {
        engine().import_next();
        let grid = Grid::of_workers().await;
        let text = "import tiny; print(tiny.WORD, tiny.__file__)";
        let lock = format!("--index-url {}\ntiny==1.0\n", index());
        for (image, python, environments) in [(IMAGE, "3.11", 1), (NEXT_IMAGE, "3.13", 2), (IMAGE, "3.11", 2)]
        {
            let script = script(&grid, text, &lock).with(|body| body.runtime = format!("image:{image}"));
            let id = grid.submit(&script).await;
            let ended = grid.end(&id).await;
            let printed = grid.log(&id, Stream::Stdout).await;
            assert!(
                printed.starts_with(&format!("tiny 1.0 /rgrid/env/lib/python{python}/")),
                "{ended:?} {printed}"
            );
            assert_eq!(kept(&grid).len(), environments);
        }
        grid.stop().await;
    });
}

#[test]
fn an_image_gets_packages_of_its_own_which_the_next_worker_fetches() {
    in_containers(async || {
        let text = "import tiny, sys; print(tiny.WORD, tiny.__file__, sys.prefix)\n\
                    open('/rgrid/env/planted', 'w')";
        let mut grid = Grid::of_workers().await;
        let lock = format!("--index-url {}\ntiny==1.0\n", index());
        let plain = script(&grid, text, &lock);
        let in_image = script(&grid, text, &lock).with(|body| body.runtime = format!("image:{IMAGE}"));
        for _ in 0..2 {
            let id = grid.submit(&in_image).await;
            let ended = grid.end(&id).await;
            let (printed, complained) =
                (grid.log(&id, Stream::Stdout).await, grid.log(&id, Stream::Stderr).await);
            assert!(printed.starts_with("tiny 1.0 /rgrid/env/lib/python3.11/"), "{ended:?} {printed}");
            assert!(printed.trim_end().ends_with(" /rgrid/env"), "{printed}");
            assert!(complained.contains("Read-only file system"), "{complained}");
            assert_eq!(kept(&grid).len(), 1);
        }
        assert!(!has_built(&grid), "what an image built was to be kept apart");
        // The same lock for the worker's own Python is another environment.
        let id = grid.submit(&plain).await;
        grid.end(&id).await;
        assert!(grid.log(&id, Stream::Stdout).await.starts_with("tiny 1.0 "));
        assert_eq!(kept(&grid).len(), 2);
        assert!(has_built(&grid));

        grid.fresh_worker().await;
        let id = grid.submit(&in_image).await;
        grid.end(&id).await;
        assert!(grid.log(&id, Stream::Stdout).await.starts_with("tiny 1.0 "));
        assert!(caches(&grid).is_empty() && kept(&grid).len() == 1, "it was to be fetched");

        let unknown = format!("--index-url {}\ntiny==9.0\n", index());
        let cannot = script(&grid, text, &unknown).with(|body| body.runtime = format!("image:{IMAGE}"));
        let ended = grid.run(&cannot).await;
        assert!(failed(&ended).contains("tiny==9.0"), "{}", failed(&ended));
        assert_eq!(kept(&grid).len(), 1, "nothing of it is kept");
        let address = grid.address().to_owned();
        grid.stop().await;
        assert_eq!(engine().containers_of(&address), BTreeMap::new());
    });
}

/// A package whose build tries to reach what its lock does not name, and says how that went.
const CURIOUS: &str = "\
import socket, urllib.request
def tried(way):
    try:
        way()
        return 'reached'
    except OSError as error:
        return type(error).__name__
def build_wheel(*_):
    direct = tried(lambda: socket.create_connection(('ADDRESS', PORT), 5))
    asked = tried(lambda: urllib.request.urlopen('http://ADDRESS:PORT/', timeout=5))
    raise SystemExit(f'directly: {direct}; by the proxy: {asked}')
";

#[test]
fn a_build_reaches_the_indexes_of_its_lock_and_nothing_else() {
    in_containers(async || {
        let port = listen_everywhere();
        let grid = Grid::of_workers().await;
        let package = || LocalPackageBody { path: format!("{PROJECT}/lib"), editable: false };
        let project = "[project]\nname = 'curious'\nversion = '1'\n\
            [build-system]\nrequires = []\nbuild-backend = 'curious'\nbackend-path = ['.']\n";
        let backend = CURIOUS.replace("ADDRESS", INTERNET).replace("PORT", &port.to_string());
        for runtime in [None, Some(format!("image:{IMAGE}"))] {
            let in_runtime = |body: &mut CreateExecution| {
                if let Some(runtime) = &runtime {
                    body.runtime.clone_from(runtime);
                }
            };
            let lock = format!("--index-url {}\ncurious @ file://{PROJECT}/lib\ntiny==1.0\n", index());
            let curious = script(&grid, "", &lock)
                .file(&format!("{PROJECT}/lib/pyproject.toml"), project.as_bytes())
                .file(&format!("{PROJECT}/lib/curious.py"), backend.as_bytes())
                .with(|body| body.dependencies.as_mut().unwrap().local.push(package()))
                .with(in_runtime);
            let ended = grid.run(&curious).await;
            let said = failed(&ended);
            assert!(said.contains("directly: OSError; by the proxy: HTTPError"), "{said}");
            assert!(said.contains(&format!("it asked for {INTERNET}:{port}, which")), "{said}");
            let (_, log) = told(&grid, "last").await;
            assert!(log.contains(said), "{log}");

            // An index where no job may go is not reached for a build either.
            let private = format!("--index-url http://{PRIVATE}:{port}/simple\ntiny==1.0\n");
            let ended = grid.run(&script(&grid, "", &private).with(in_runtime)).await;
            assert!(failed(&ended).contains("tiny"), "{}", failed(&ended));
            assert_eq!(kept(&grid), Vec::<PathBuf>::new());
        }
        grid.stop().await;
    });
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

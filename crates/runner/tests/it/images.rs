//! Whole lives of attempts in container images, beside the same scripts in the process sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use rgrid_api::logs::Stream;
use rgrid_api::outcome::OutcomeBody;

use crate::engine::{IMAGE, engine};
use crate::grid::{DEADLINE, Grid};
use crate::ground::{Ground, in_containers};
use crate::registry::registry;

/// Scripts that must not be able to tell where they run.
const SCRIPTS: &[&str] = &[
    "print('hello')",
    "import os, sys\nprint(os.getcwd(), __file__, sys.path[0], sys.argv)\nsys.exit(3)",
    "import os\nos.makedirs('out/deep')\nopen('out/deep/a', 'w').write('x')\nopen('script.py', 'a').write('#')",
    "import os\nopen('/tmp/t', 'w').write('t')\nprint(os.environ['HOME'], os.listdir(os.environ['HOME']))",
    "import sys\nsys.stdout.buffer.write(bytes(range(256)))\nprint('words', file=sys.stderr)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "import getpass, os, stat\nopen('f', 'w')\nprint(oct(stat.S_IMODE(os.stat('f').st_mode)), getpass.getuser())",
    "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True).stdout)",
];

#[test]
fn a_script_cannot_tell_an_image_from_the_process_sandbox() {
    in_containers(async || {
        let grid = Grid::start().await;
        let mut ids = Vec::new();
        for text in SCRIPTS {
            let mut seen = Vec::new();
            for image in [false, true] {
                let script = grid.script(text).with(|body| {
                    if image {
                        body.runtime = format!("image:{IMAGE}");
                    }
                });
                let id = grid.submit(&script).await;
                let ended = grid.end(&id).await;
                let (stdout, stderr) =
                    (grid.log(&id, Stream::Stdout).await, grid.log(&id, Stream::Stderr).await);
                let mut files = Vec::new();
                for (path, artifact) in grid.outputs(&id).await {
                    files.push((path, grid.bytes(&artifact).await));
                }
                seen.push((ended.outcome, stdout, stderr, files));
                ids.push(id);
            }
            assert_eq!(seen[0], seen[1], "{text}");
        }
        grid.stop().await;
        for id in ids {
            assert_eq!(engine().containers(&id), "");
        }
    });
}

#[test]
fn an_attempt_in_an_image_is_cancelled_and_one_without_its_image_says_what_to_do() {
    in_containers(async || {
        let grid = Grid::start().await;
        let in_image =
            |text: &str, image: &str| grid.script(text).with(|body| body.runtime = format!("image:{image}"));
        let script = in_image(
            "import time\nprint('ready')\ntry:\n    time.sleep(600)\nfinally:\n    open('made', 'w')\n    print('bye')",
            IMAGE,
        );
        let id = grid.submit(&script).await;
        grid.printed(&id, "ready").await;
        let named = engine().containers(&id);
        assert!(named.starts_with(&format!("rgrid-{id}-1 Up")), "{named}");
        let running = grid.until(&id, |execution| execution.image.is_some()).await;
        assert!(running.image.unwrap().starts_with("sha256:"), "it comes from no registry");
        grid.client.cancel(&id).await.unwrap();
        let ended = grid.end(&id).await;
        assert!(matches!(ended.outcome, Some(OutcomeBody::Cancelled { .. })), "{ended:?}");
        assert_eq!(grid.log(&id, Stream::Stdout).await, "ready\nbye\n");
        assert!(grid.outputs(&id).await.contains_key("made"));

        let ended = grid.run(&in_image("print()", "rgrid-test:absent")).await;
        let Some(OutcomeBody::SandboxFailed { message }) = ended.outcome else { panic!("{ended:?}") };
        assert!(message.contains("docker pull rgrid-test:absent"), "{message}");
        grid.stop().await;
        assert_eq!(engine().containers(&id), "");
    });
}

#[test]
fn a_worker_of_containers_runs_nothing_else() {
    in_containers(async || {
        let grid = Grid::of_containers().await;
        let id =
            grid.submit(&grid.script("print(1)").with(|body| body.runtime = format!("image:{IMAGE}"))).await;
        assert_eq!(grid.end(&id).await.exit_code, Some(0));
        assert_eq!(grid.log(&id, Stream::Stdout).await, "1\n");
        let ended = grid.run(&grid.script("print(2)")).await;
        let Some(OutcomeBody::SandboxFailed { message }) = ended.outcome else { panic!("{ended:?}") };
        assert!(message.contains("in containers only"), "{message}");
        grid.stop().await;
    });
}

#[test]
fn an_attempt_in_an_image_runs_for_longer_than_a_container_may_take_to_go_away() {
    in_containers(async || {
        let grid = Grid::start().await;
        let long = "import time\nprint('ready')\ntime.sleep(32)\nprint('done')";
        let id = grid.submit(&grid.script(long).with(|body| body.runtime = format!("image:{IMAGE}"))).await;
        grid.printed(&id, "ready").await;
        let ended = grid.end(&id).await;
        assert!(matches!(ended.outcome, Some(OutcomeBody::Exited { code: 0, .. })), "{ended:?}");
        assert_eq!(grid.log(&id, Stream::Stdout).await, "ready\ndone\n");
        grid.stop().await;
    });
}

/// Waits until a grid's containers are as wanted; answers them, name by id.
async fn containers_until(
    grid: &Grid,
    wanted: impl Fn(&BTreeMap<String, String>) -> bool,
) -> BTreeMap<String, String> {
    let waiting = async {
        loop {
            let found = engine().containers_of(grid.address());
            if wanted(&found) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect("the containers become as wanted")
}

/// The only one that waits for a job.
fn waits(containers: &BTreeMap<String, String>) -> Option<&String> {
    let mut waiting = containers.iter().filter(|(_, name)| name.starts_with("rgrid-waits-"));
    let (id, _) = waiting.next()?;
    waiting.next().is_none().then_some(id)
}

#[test]
fn a_container_waits_for_the_next_job_and_runs_no_other() {
    in_containers(async || {
        let grid = Grid::start().await;
        let script = |text: &str| grid.script(text).with(|body| body.runtime = format!("image:{IMAGE}"));
        assert_eq!(grid.run(&script("print(1)")).await.exit_code, Some(0));
        // The first job's own container goes away by itself.
        let found = containers_until(&grid, |found| found.len() == 1 && waits(found).is_some()).await;
        let ahead = waits(&found).unwrap().clone();

        let id = grid.submit(&script("import time\ntime.sleep(600)")).await;
        let named = format!("rgrid-{id}-1");
        let found = containers_until(&grid, |found| {
            found.get(&ahead) == Some(&named) && waits(found).is_some_and(|next| *next != ahead)
        });
        assert_eq!(found.await.len(), 2);
        grid.client.cancel(&id).await.unwrap();
        grid.end(&id).await;
        containers_until(&grid, |found| found.len() == 1 && waits(found).is_some()).await;

        // Another size is another container.
        let large = script("print(2)").with(|body| body.memory_bytes = Some(300 << 20));
        assert_eq!(grid.run(&large).await.exit_code, Some(0));
        let address = grid.address().to_owned();
        grid.stop().await;
        assert_eq!(engine().containers_of(&address), BTreeMap::new());
    });
}

#[test]
fn an_image_is_pulled_recorded_by_its_digest_and_removed_when_others_need_the_room() {
    in_containers(async || {
        let name = |tag: &str, registry: &str| format!("{registry}/debian:{tag}");
        let registry = registry();
        let grid = Grid::of_workers().await;
        let pulled = name("first", &registry);
        let script = grid
            .script("import os\nprint(os.environ['TAG'])")
            .with(|body| body.runtime = format!("image:{pulled}"));
        let id = grid.submit(&script).await;
        let ended = grid.end(&id).await;
        assert_eq!(grid.log(&id, Stream::Stdout).await, "first\n", "{ended:?}");
        let digest = ended.image.expect("it ran in an image");
        assert!(digest.starts_with(&format!("{registry}/debian@sha256:")), "{digest}");
        let attempts = grid.client.attempts(&id).await.unwrap().attempts;
        assert_eq!(attempts[0].image.as_ref(), Some(&digest));
        grid.stop().await;

        // Room for none: only what is in use stays, and what others brought.
        let ground = Ground::new(|config| config.images_bytes_max = 1).await;
        let second = ground.sandbox.find_image(&name("second", &registry), true).await.unwrap();
        let third = ground.sandbox.find_image(&name("third", &registry), true).await.unwrap();
        drop(second);
        drop(ground.sandbox.find_image(IMAGE, true).await.unwrap());
        let gone = async {
            while engine().has_image(&name("second", &registry)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, gone).await.expect("the one that nobody uses goes");
        let there = |image: &str| engine().has_image(image);
        assert!(there(&name("third", &registry)) && there(&pulled) && there(IMAGE));
        drop(third);
        ground.close().await;
    });
}

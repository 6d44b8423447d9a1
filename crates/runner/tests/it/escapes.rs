//! What must be impossible for a job. Every test is run as root and again as an ordinary user.

use rgrid_runner::sandbox::JobExit;

use crate::ground::{Ground, in_every_mode, job};

#[test]
fn the_exit_is_the_programs_own() {
    in_every_mode(async || {
        let ground = Ground::new(|_| {}).await;
        for code in [0, 1, 137, 255] {
            let ended = ground.run(job(&["exit", &code.to_string()])).await;
            assert_eq!(ended.end.exit, JobExit::Exited(code), "{ended:?}");
        }
        for signal in [6, 9, 11, 15, 40] {
            let ended = ground.run(job(&["die", &signal.to_string()])).await;
            assert_eq!(ended.end.exit, JobExit::Signalled(signal), "{ended:?}");
        }
        ground.sandbox.close().await;
    });
}

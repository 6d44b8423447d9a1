//! What a job may write: as root on a file system of its own (hard), else looked at (watched, see `limits`).

use rgrid_runner::sandbox::{JobExit, JobLimits, no_hard_disk};

use crate::ground::{AMPLE, Ground, Job, as_root, job};

const MEBIBYTE: u64 = 1 << 20;
const LIMITS: JobLimits = JobLimits { disk_bytes: 64 * MEBIBYTE, ..AMPLE };

#[test]
fn a_job_sees_its_disk_full_and_the_next_finds_it_empty() {
    as_root(async || {
        let ground = Ground::new(|_| {}).await;
        assert_eq!(no_hard_disk(), None);
        assert_eq!(ground.sandbox.describe().disk, "hard");
        let big = (96 * MEBIBYTE).to_string();
        let most = (60 * MEBIBYTE).to_string();
        let mut beside = {
            let root = ground.workspace_of(1, LIMITS.disk_bytes);
            let words = ["fill", "/place/a", &most, "+", "say", "here", "+", "wait"];
            ground.start_in(root, Job { slot: 1, limits: LIMITS, ..job(&words) }).await.unwrap()
        };
        beside.said("here").await;
        for _ in 0..2 {
            // In one file, and in several: the kernel says no, and it goes on to say so itself.
            for words in [
                ["fill", "/place/big", &big, "+", "exit", "1"].to_vec(),
                ["fill", "/place/a", &most, "+", "fill", "/tmp/b", &most, "+", "exit", "1"].to_vec(),
            ] {
                let root = ground.workspace_of(0, LIMITS.disk_bytes);
                let ended = ground.start_in(root, Job { limits: LIMITS, ..job(&words) }).await.unwrap();
                let ended = ended.finish().await;
                assert!(ended.stdout.ends_with("refused: ENOSPC\n"), "{ended:?}");
                assert_eq!((ended.end.exit, ended.end.disk_full), (JobExit::Exited(1), true), "{ended:?}");
            }
            // One that keeps within it fails for a reason of its own, and one that goes on has the last word.
            for (code, words) in [
                (1, ["fill", "/place/a", &most, "+", "exit", "1"]),
                (0, ["fill", "/place/b", &big, "+", "exit", "0"]),
            ] {
                let root = ground.workspace_of(0, LIMITS.disk_bytes);
                let ended = ground.start_in(root, Job { limits: LIMITS, ..job(&words) }).await.unwrap();
                let ended = ended.finish().await;
                assert_eq!(
                    (ended.end.exit, ended.end.disk_full),
                    (JobExit::Exited(code), false),
                    "{ended:?}"
                );
            }
        }
        beside.running.kill().await;
        ground.vacate();
        // The same file systems, for more.
        let limits = JobLimits { disk_bytes: 200 * MEBIBYTE, ..AMPLE };
        let root = ground.workspace_of(0, limits.disk_bytes);
        let much = (190 * MEBIBYTE).to_string();
        let ended = ground.start_in(root, Job { limits, ..job(&["fill", "/place/a", &much]) }).await.unwrap();
        assert_eq!(ended.finish().await.stdout, "done\n");
        ground.vacate();
        ground.close().await;
    });
}

#[test]
fn a_disk_that_cannot_be_bounded_is_watched_and_said_to_be() {
    as_root(async || {
        let ground = Ground::new(|config| config.own_mounts = false).await;
        assert_eq!(ground.sandbox.describe().disk, "watched");
        let half = (48 * MEBIBYTE).to_string();
        let words =
            ["fill", "/place/a", &half, "+", "fill", "/tmp/b", &half, "+", "wait-if-done", "/tmp/b", &half];
        let root = ground.workspace_of(0, LIMITS.disk_bytes);
        let ended = ground.start_in(root, Job { limits: LIMITS, ..job(&words) }).await.unwrap();
        let ended = ended.finish().await;
        assert!(ended.end.disk_full && ended.end.exit != JobExit::Exited(0), "{ended:?}");
        ground.close().await;
    });
}

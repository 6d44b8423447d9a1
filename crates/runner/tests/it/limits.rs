//! What a job must not use more of than it was given. Every test runs as root, where limits are hard if this machine has
//! control groups, and again as an ordinary user, where they are watched.

use std::time::Duration;

use rgrid_runner::sandbox::{JobExit, JobLimits};

use crate::ground::{AMPLE, Ground, Job, in_every_sandbox, job};

/// Whatever happens has happened by then, or never will.
const DEADLINE: Duration = Duration::from_secs(30);
const MEBIBYTE: u64 = 1 << 20;

#[test]
fn a_job_that_eats_memory_is_ended_and_its_peak_is_known() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let mut beside = ground.start(Job { slot: 1, ..job(&["say", "here", "+", "wait"]) }).await.unwrap();
        beside.said("here").await;
        let limit = 64 * MEBIBYTE;
        let limits = JobLimits { memory_bytes: limit, ..AMPLE };
        let eats = ground.run(Job { limits, ..job(&["eat", "2000000000", "+", "wait"]) });
        let ended = tokio::time::timeout(DEADLINE, eats).await.expect("it is ended");
        assert_eq!(ended.end.exit, JobExit::Signalled(9));
        let (said_limit, peak) = ended.end.out_of_memory.expect("it ran out of memory");
        assert_eq!(said_limit, limit);
        assert!(peak > limit * 9 / 10, "{peak}");
        // One that stays below it is left alone.
        let ended = ground.run(Job { limits, ..job(&["eat", "30000000"]) }).await;
        assert_eq!((ended.end.exit, ended.end.out_of_memory), (JobExit::Exited(0), None));
        beside.running.kill().await;
        ground.close().await;
    });
}

#[test]
fn a_job_whose_child_ate_the_memory_does_not_wait_for_it_for_ever() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let limits = JobLimits { memory_bytes: 64 * MEBIBYTE, ..AMPLE };
        let ended = ground.run(Job { limits, ..job(&["child-eats", "2000000000"]) }).await;
        assert_eq!(ended.end.exit, JobExit::Signalled(9), "{ended:?}");
        assert!(ended.end.out_of_memory.is_some(), "{ended:?}");
        ground.close().await;
    });
}

#[test]
fn a_fork_bomb_stays_small_and_the_job_beside_it_forks_on() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let limits = JobLimits { processes: 20, ..AMPLE };
        let mut bomb = ground
            .start(Job { limits, ..job(&["fork", "1000", "+", "say", "full", "+", "wait"]) })
            .await
            .unwrap();
        let made = bomb.said("full").await;
        let made: u32 = made.lines().next().unwrap().parse().unwrap();
        assert!((10..=20).contains(&made), "{made}");
        assert_eq!(ground.run(Job { slot: 1, ..job(&["fork", "15"]) }).await.stdout, "15\n");
        bomb.running.kill().await;
        ground.close().await;
    });
}

#[test]
fn a_job_that_fills_its_disk_is_ended() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let limits = JobLimits { disk_bytes: 64 * MEBIBYTE, ..AMPLE };
        // One file: the write fails. Many files: it is ended, or the write fails.
        let big = (96 * MEBIBYTE).to_string();
        let ended = ground.run(Job { limits, ..job(&["fill", "/place/big", &big, "+", "exit", "1"]) }).await;
        assert!(ended.end.disk_full && ended.end.exit != JobExit::Exited(0), "{ended:?}");
        let half = (48 * MEBIBYTE).to_string();
        let words =
            ["fill", "/place/a", &half, "+", "fill", "/tmp/b", &half, "+", "wait-if-done", "/tmp/b", &half];
        let ended = ground.run(Job { limits, ..job(&words) }).await;
        assert!(ended.end.disk_full && ended.end.exit != JobExit::Exited(0), "{ended:?}");
        let ended = ground.run(Job { limits, ..job(&["fill", "/place/a", &half, "+", "exit", "1"]) }).await;
        assert!(!ended.end.disk_full && ended.stdout == "done\n", "{ended:?}");
        ground.close().await;
    });
}

#[test]
fn a_job_does_not_get_more_shared_memory_than_memory() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let limits = JobLimits { memory_bytes: 64 * MEBIBYTE, ..AMPLE };
        let big = (96 * MEBIBYTE).to_string();
        let ended =
            ground.run(Job { limits, ..job(&["fill", "/dev/shm/big", &big, "+", "exit", "1"]) }).await;
        assert!(
            ended.end.out_of_memory.is_some() || ended.stdout.starts_with("refused: ENOSPC"),
            "{ended:?}"
        );
        ground.close().await;
    });
}

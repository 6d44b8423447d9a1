//! What must be impossible for a job. Every test runs as root and again as an ordinary user.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use rgrid_runner::sandbox::{JobEnd, JobExit, SandboxError, no_hard_disk};

use crate::engine::{IMAGE, engine, first_line};
use crate::ground::{Ground, HOSTILE, Job, as_root, in_every_sandbox, job, launcher};

#[test]
fn an_exit_code_is_never_taken_for_a_signal() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        for code in [0, 1, 137, 255] {
            let ended = ground.run(job(&["exit", &code.to_string()])).await;
            assert_eq!(ended.end.exit, JobExit::Exited(code), "{ended:?}");
        }
        // 40 is a real-time signal.
        for signal in [6, 9, 11, 15, 40] {
            let ended = ground.run(job(&["die", &signal.to_string()])).await;
            assert_eq!(ended.end.exit, JobExit::Signalled(signal), "{ended:?}");
        }
        ground.close().await;
    });
}

#[test]
fn a_job_has_the_environment_and_folder_it_was_given_and_nothing_else() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let words = ["environment", "+", "folder"];
        let ended = ground.run(Job { environment: &[("GREETING", "hello there")], ..job(&words) }).await;
        assert_eq!(ended.stdout, "GREETING=hello there\n/place\n");
        let ended = ground.run(Job { input: b"typed\0in\xff", ..job(&["copy"]) }).await;
        assert_eq!(ended.stdout, "typed\0in\u{fffd}");
        ground.close().await;
    });
}

#[test]
fn a_job_sees_no_file_of_the_host_but_the_system_and_what_was_bound() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let home = ground.folder.path().join("home");
        fs::create_dir_all(home.join("python/bin")).unwrap();
        fs::write(home.join("python/bin/python"), "").unwrap();
        fs::write(home.join("secret"), "").unwrap();
        let outside = ground.folder.path().join("outside");
        fs::write(&outside, "").unwrap();

        let words = ["list", "/home/me", "+", "read", "/home/me/python/bin/python", "+", "list", "/"];
        let python = home.join("python");
        let binds: [(&Path, &str); 1] = [(&python, "/home/me/python")];
        let ended = ground.run(Job { binds: &binds, ..job(&words) }).await;
        let mut top: Vec<&str> = ended.stdout.lines().skip(2).collect();
        top.retain(|name| !name.starts_with("lib") && !name.ends_with("bin"));
        assert!(ended.stdout.starts_with("python\ndone\n"), "{ended:?}");
        if !ground.docker {
            assert_eq!(top, ["dev", "etc", "home", "opt", "place", "proc", "run", "tmp", "usr", "var"]);
        }

        let refused = "refused: ENOENT";
        assert_eq!(ground.deed(&["read", outside.to_str().unwrap()]).await, refused);
        let paths = ["/etc/shadow", "/etc/gshadow", "/root", "/sys", "/run/rgrid/runner-0.lock", "/var/log"];
        let said =
            ground.deeds(&paths.map(|path| ["read", path]).each_ref().map(|deed| deed.as_slice())).await;
        if ground.docker {
            // The image's own are there, and are nothing of the host's.
            assert_eq!(said[..2], ["refused: EACCES"; 2]);
            let sockets = ["/var/run/docker.sock", "/run/docker.sock", "/run/rgrid/control"];
            let sockets = sockets.map(|path| ["read", path]);
            let said = ground.deeds(&sockets.each_ref().map(|deed| deed.as_slice())).await;
            assert_eq!(said, [refused, refused, "refused: ENXIO"]);
        } else {
            assert_eq!(said, [refused; 6]);
        }
        ground.close().await;
    });
}

#[test]
fn a_job_does_not_see_the_files_of_another() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let mut other =
            ground.start(Job { slot: 1, ..job(&["write", "/place/mine", "+", "wait"]) }).await.unwrap();
        other.said("done").await;
        let theirs = other.root.join("place/mine");
        assert!(theirs.exists());
        assert_eq!(ground.deed(&["read", theirs.to_str().unwrap()]).await, "refused: ENOENT");
        assert_eq!(ground.deed(&["list", "/place"]).await, "");
        other.running.kill().await;
        ground.close().await;
    });
}

#[test]
fn a_job_writes_only_to_its_own_folders() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let own = ["/place/x", "/tmp/x", "/var/tmp/x", "/dev/shm/x", "/dev/null"].map(|path| ["write", path]);
        assert_eq!(ground.deeds(&own.each_ref().map(|deed| deed.as_slice())).await, ["done"; 5]);
        let system =
            ["/usr/x", "/usr/bin/env", "/bin/x", "/etc/x", "/etc/passwd", HOSTILE, "/run/rgrid/launch"];
        let kernel = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"];
        let deeds: Vec<[&str; 2]> = system.into_iter().chain(kernel).map(|path| ["write", path]).collect();
        let deeds: Vec<&[&str]> = deeds.iter().map(<[&str; 2]>::as_slice).collect();
        for (said, deed) in ground.deeds(&deeds).await.iter().zip(deeds) {
            let refused = ["refused: EROFS", "refused: EACCES", "refused: EPERM", "refused: ENOENT"];
            assert!(refused.contains(&said.as_str()), "{deed:?}: {said}");
        }
        ground.close().await;
    });
}

#[test]
fn a_file_below_a_system_folder_is_seen_there_and_nothing_there_can_be_written() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let file = ground.folder.path().join("mine");
        fs::write(&file, "").unwrap();
        let paths =
            ["/usr/local/share/nowhere/to/be/found", "/usr/nowhere", "/etc/nowhere/x", "/usr/bin/env"];
        let binds: Vec<(&Path, &str)> = paths.iter().map(|path| (file.as_path(), *path)).collect();
        let mut words: Vec<&str> = paths.iter().flat_map(|path| ["read", path, "+"]).collect();
        words.extend(["write", "/usr/other", "+", "write", "/usr/nowhere", "+", "read", "/usr/bin/sh", "+"]);
        words.extend(["write", "/usr/local/share/nowhere/x"]);
        let ended = ground.run(Job { binds: &binds, ..job(&words) }).await;
        let said: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(said[..4], ["done"; 4], "{ended:?}");
        assert!(said[4].starts_with("refused") && said[5].starts_with("refused"), "{ended:?}");
        assert!(said[6] == "done" && said[7].starts_with("refused"), "{ended:?}");
        // The next job of the slot sees no trace of it.
        assert_eq!(ground.deed(&["list", "/etc/nowhere"]).await, "refused: ENOENT");
        ground.close().await;
    });
}

#[test]
fn a_job_is_nobody_and_becomes_nobody_else() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let capabilities = ground.deed(&["capabilities"]).await;
        let nothing = "0000000000000000";
        for line in capabilities.lines().filter(|line| !line.starts_with("CapBnd") || ground.root) {
            assert!(line.ends_with(nothing), "{capabilities}");
        }
        if let Some((uid, gid)) = ground.sandbox.job_uid(0) {
            assert_eq!(ground.deed(&["user"]).await, format!("{uid} {gid}"));
            assert_ne!(ground.sandbox.job_uid(1), Some((uid, gid)));
            assert_ne!(uid, 0);
        }
        // As an ordinary user there is no root inside that could be meant.
        let refused = if ground.root { "refused: EPERM" } else { "refused: EINVAL" };
        assert_eq!(ground.deed(&["become-root"]).await, refused);
        // A program with the set-user-id bit gives nothing: no exit code 0, no number.
        let said = ground.deed(&["su"]).await;
        assert!(!said.contains("status: 0") && !said.ends_with(" 0"), "{said}");
        ground.close().await;
    });
}

#[test]
fn a_job_cannot_reach_the_kernels_back_rooms() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let deeds: [&[&str]; 6] =
            [&["mount"], &["unshare"], &["chroot"], &["keyring"], &["bpf"], &["userfaultfd"]];
        assert_eq!(ground.deeds(&deeds).await, ["refused: EPERM"; 6]);
        assert_eq!(ground.deed(&["vsock"]).await, "refused: EAFNOSUPPORT");
        ground.close().await;
    });
}

#[test]
fn a_job_sees_no_process_but_its_own_and_touches_no_other() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let mut other = ground.start(Job { slot: 1, ..job(&["say", "here", "+", "wait"]) }).await.unwrap();
        other.said("here").await;
        let runner = std::process::id().to_string();
        let said = ground
            .deeds(&[
                &["processes"], // the launcher and the job itself
                &["signal", &runner],
                &["ptrace", &runner],
                &["ptrace", "1"], // the launcher is there, but out of reach
                &["read", "/proc/1/environ"],
                &["list", "/proc/1/root"],
                &["list", "/proc/1/fd"],
                &["signal", "1"],
                &["say", "alive"],
            ])
            .await;
        assert_eq!(said[..4], ["2", "refused: ESRCH", "refused: ESRCH", "refused: EPERM"]);
        assert_eq!(said[4..7], ["refused: EACCES"; 3]);
        // Process 1 ignores it, but a kernel that can keep signals within the job does.
        let kept = (!ground.docker && keeps_signals_within()).then_some("refused: EPERM");
        assert!(
            kept.map_or(["refused: EPERM", "done"].contains(&said[7].as_str()), |kept| said[7] == kept),
            "{said:?}"
        );
        assert_eq!(said[8], "alive");
        other.running.kill().await;
        ground.close().await;
    });
}

/// Whether landlock is there, of Linux 6.12 or later.
fn keeps_signals_within() -> bool {
    let modules = fs::read_to_string("/sys/kernel/security/lsm");
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).filter_map(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    version >= (6, 12) && modules.map_or(true, |modules| modules.contains("landlock"))
}

#[test]
fn nothing_of_a_job_outlives_it() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let marker = format!("left-behind-by-{}", std::process::id());
        let ended = ground.run(job(&["daemon", &marker])).await;
        assert_eq!((ended.stdout.as_str(), ended.end.exit), ("left behind\n", JobExit::Exited(0)));
        assert!(!is_running(&marker));

        let mut started = ground.start(job(&["daemon", &marker, "+", "wait-deaf"])).await.unwrap();
        started.said("deaf").await;
        assert!(is_running(&marker));
        started.running.terminate(); // takes the daemon along; the deaf one stays
        started.running.kill().await;
        assert!(!is_running(&marker));
        assert_eq!(started.finish().await.end.exit, JobExit::Signalled(9));

        let mut dropped = ground.start(job(&["daemon", &marker, "+", "wait-deaf"])).await.unwrap();
        dropped.said("deaf").await;
        drop(dropped);
        until("a dropped job is gone", || !is_running(&marker)).await;
        ground.close().await;
    });
}

#[test]
fn a_kill_returns_when_the_last_of_many_processes_is_gone() {
    const PROCESSES: usize = 40;
    const KILLS: usize = 10;
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let marker = format!("one-of-many-of-{}", std::process::id());
        let mut words = vec!["last-in-line", "+"]; // for the CPU: to die takes them the longest
        words.extend([["daemon", &marker, "+"]; PROCESSES].concat());
        words.push("wait-deaf");
        for kill in 0..KILLS {
            let mut started = ground.start(job(&words)).await.unwrap();
            started.said("deaf").await;
            started.running.kill().await;
            assert!(!is_running(&marker), "something is left after kill {kill}");
        }
        ground.close().await;
    });
}

/// Devices whose bytes are files below `folder`.
fn loop_devices(folder: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices.filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files.filter(|file| Path::new(file.trim()).starts_with(folder)).count()
}

#[test]
fn nothing_of_a_killed_runner_stays_but_what_the_next_one_cleans_up() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let folder = ground.folder.path().join("killed");
        let marker = format!("job-of-{}", std::process::id());
        let mut command = Command::new(launcher());
        command.arg("runner").arg(&folder).arg(&marker).stdout(Stdio::piped());
        if ground.docker {
            command.arg(&engine().socket).arg(IMAGE);
        }
        let mut runner = command.spawn().unwrap();
        assert_eq!(first_line(runner.stdout.take().unwrap()), "running\n");
        assert!(is_running(&marker));
        assert_eq!(loop_devices(&folder) > 0, ground.root && no_hard_disk().is_none());
        runner.kill().unwrap();
        runner.wait().unwrap();
        until("the job has died with its runner", || !is_running(&marker)).await;
        until("its disks are gone", || loop_devices(&folder) == 0).await;
        if ground.docker {
            // Nobody but the engine is there to remove it.
            until("its container is gone", || engine().containers(&marker).is_empty()).await;
        }
        ground.close().await;
        // The next one, of the same kind.
        let next = Ground::new(|config| config.data_folder.clone_from(&folder)).await;
        let alone = next.root && !next.docker;
        next.close().await;
        if alone {
            let listed = |program: &str, arguments: &[&str]| {
                String::from_utf8(Command::new(program).args(arguments).output().unwrap().stdout).unwrap()
            };
            assert_eq!(listed("nft", &["list", "tables"]), "");
            assert!(!listed("ip", &["link"]).contains("rgrid"));
        }
    });
}

#[test]
fn runners_that_share_groups_and_nothing_else_do_not_get_in_each_others_way() {
    as_root(async || {
        let ground = Ground::new(|_| {}).await;
        // Another container: its runners meet elsewhere, and number themselves from the start.
        let nothing: Option<&str> = None;
        let elsewhere = std::thread::spawn(move || {
            let ours = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_FS;
            nix::sched::unshare(ours).unwrap();
            fs::create_dir_all("/run/rgrid").unwrap();
            mount(Some("none"), "/run/rgrid", Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let other = Ground::new(|_| {}).await;
                assert_eq!(other.run(job(&["say", "there"])).await.stdout, "there\n");
                let uid = other.sandbox.job_uid(0);
                other.close().await;
                uid
            })
        });
        assert_eq!(ground.run(job(&["say", "here"])).await.stdout, "here\n");
        let theirs = tokio::task::spawn_blocking(|| elsewhere.join().unwrap()).await.unwrap();
        assert_ne!(ground.sandbox.job_uid(0), theirs);
        assert_eq!(ground.run(job(&["say", "still"])).await.stdout, "still\n");
        ground.close().await;
    });
}

#[test]
fn an_interrupt_reaches_the_main_process_and_a_termination_all() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let mut started = ground.start(job(&["wait-for-interrupt"])).await.unwrap();
        started.said("waiting").await;
        started.running.interrupt();
        let ended = started.finish().await;
        assert_eq!((ended.stdout.as_str(), ended.end.exit), ("\ngot SIGINT\n", JobExit::Exited(0)));

        let mut started = ground.start(job(&["family-waits-for-term"])).await.unwrap();
        started.said("waiting\nwaiting").await;
        started.running.terminate();
        let ended = started.finish().await;
        assert_eq!(ended.end.exit, JobExit::Exited(0));
        assert!(ended.stdout.contains("got SIGTERM"), "{ended:?}");
        ground.close().await;
    });
}

#[test]
fn a_hostile_workspace_does_not_lead_a_mount_elsewhere() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let target = ground.folder.path().join("target");
        fs::create_dir(&target).unwrap();
        for link in ["opt", "run", "etc", "usr", "tmp"] {
            let root = ground.workspace(0);
            if ground.docker && link == "tmp" {
                fs::remove_dir(root.join(link)).unwrap();
            }
            std::os::unix::fs::symlink(&target, root.join(link)).unwrap();
            let refused = ground.start_in(root, job(&["say", "hello"])).await.err();
            match refused {
                Some(SandboxError::System { .. }) => assert!(!ground.docker, "{link}"),
                Some(SandboxError::Refused(_)) => assert!(ground.docker, "{link}"),
                // The image's own, whatever a workspace says.
                None => assert!(ground.docker && ["run", "etc", "usr"].contains(&link), "{link}"),
                Some(other) => panic!("{link}: {other}"),
            }
        }
        assert_eq!(fs::read_dir(&target).unwrap().count(), 0);
        ground.close().await;
    });
}

#[test]
fn a_link_that_was_sent_below_a_system_folder_shows_nothing_of_the_host() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let secret = ground.folder.path().join("secret");
        fs::write(&secret, "").unwrap();
        let bring_link = |spec: &mut rgrid_runner::sandbox::JobSpec| {
            let sent = spec.root.join("sent");
            std::os::unix::fs::symlink(&secret, &sent).unwrap();
            spec.file_binds.push((sent, "/usr/local/sent".into(), true));
        };
        let refused = ground.start_changed(job(&["read", "/usr/local/sent"]), &bring_link).await.err();
        assert!(matches!(refused, Some(SandboxError::Refused(_))), "{refused:?}");
        ground.close().await;
    });
}

#[test]
fn what_cannot_be_started_is_said() {
    in_every_sandbox(async || {
        let ground = Ground::new(|_| {}).await;
        let said = async |change: &dyn Fn(&mut rgrid_runner::sandbox::JobSpec)| {
            let refused = ground.start_changed(job(&["say", "hello"]), change).await.err();
            refused.expect("it cannot be started").to_string()
        };
        let program = said(&|spec| spec.command[0] = "/nowhere/python".into()).await;
        assert_eq!(
            program,
            "cannot execute the program inside the sandbox: No such file or directory (os error 2)"
        );
        let folder = said(&|spec| spec.cwd = "/nowhere".into()).await;
        assert_eq!(
            folder,
            "cannot enter the working directory inside the sandbox: No such file or directory (os error 2)"
        );
        let slot = said(&|spec| spec.slot = 7).await;
        assert_eq!(slot, "the job cannot be sandboxed: there is no slot 7");
        // The slot is free again.
        let JobEnd { exit, .. } = ground.run(job(&["exit", "0"])).await.end;
        assert_eq!(exit, JobExit::Exited(0));
        ground.close().await;
    });
}

/// Whether a process of any user runs with this word among its arguments.
fn is_running(word: &str) -> bool {
    let own = std::process::id().to_string();
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| entry.file_name().to_str() != Some(&own)).any(
        |entry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
        },
    )
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not so within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

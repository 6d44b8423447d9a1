//! Whole lives of attempts: submitted to a real server, run by a real runner in its sandbox.

use rgrid_api::executions::Execution;
use rgrid_api::logs::{Stream, WriteStdin};
use rgrid_api::outcome::{CancelledByBody, OutcomeBody};

use crate::grid::{Grid, PROJECT};
use crate::ground::as_root;

#[test]
fn a_script_sees_its_files_where_the_user_has_them_and_what_it_wrote_comes_back() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid
            .script(
                r#"
import os, sys
print(sys.argv, __file__, sys.path[0], os.getcwd(), os.listdir(os.path.expanduser("~")))
print(os.stat("data/in.txt").st_mtime_ns, os.stat("data/in.txt").st_mode & 0o777, file=sys.stderr)
with open("data/in.txt", "r+") as f:
    f.write("CHANGED")
with open("data/new.txt", "w") as f:
    f.write("new")
os.makedirs("empty/inner")
with open("/tmp/elsewhere.txt", "w") as f:
    f.write("lost")
with open("/tmp/asked.txt", "w") as f:
    f.write("asked")
import helper
sys.exit(3)
"#,
            )
            .file(&format!("{PROJECT}/helper.py"), b"print(__file__)\n")
            .file(&format!("{PROJECT}/data/in.txt"), b"changed")
            .with(|body| {
                body.args = vec!["a b".to_owned(), "--flag".to_owned()];
                body.outputs = vec!["/tmp/asked.txt".to_owned()];
            });
        let id = grid.submit(&script).await;
        let ended = grid.end(&id).await;
        let (stdout, stderr) = (grid.log(&id, Stream::Stdout).await, grid.log(&id, Stream::Stderr).await);
        assert_eq!(ended.outcome, Some(OutcomeBody::Exited { code: 3 }), "{stdout}{stderr}");
        assert_eq!(
            stdout,
            format!(
                "['script.py', 'a b', '--flag'] {PROJECT}/script.py {PROJECT} {PROJECT} []\n{PROJECT}/helper.py\n"
            )
        );
        assert_eq!(stderr, "1700000000123456789 420\n");
        let outputs = grid.outputs(&id).await;
        let names: Vec<&str> = outputs.keys().map(String::as_str).collect();
        assert_eq!(names, ["/tmp/asked.txt", "data/in.txt", "data/new.txt", "empty/inner"]);
        assert!(outputs["empty/inner"].folder);
        assert_eq!(grid.bytes(&outputs["data/in.txt"]).await, b"CHANGED");
        assert_eq!(ended.not_brought_back, ["/tmp/elsewhere.txt"]);

        // The cache was not written to: the same inputs look the same the next time.
        let again = grid
            .script("print(open('data/in.txt').read())")
            .file(&format!("{PROJECT}/data/in.txt"), b"changed");
        let id = grid.submit(&again).await;
        grid.end(&id).await;
        assert_eq!(grid.log(&id, Stream::Stdout).await, "changed\n");
        assert!(grid.outputs(&id).await.is_empty());
        grid.stop().await;
    });
}

#[test]
fn cancel_lets_the_script_finish_its_finally_and_keeps_what_it_wrote() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid.script(
            "import time\nprint('ready')\ntry:\n    time.sleep(600)\nfinally:\n    open('kept.txt', 'w').write('kept')\n",
        );
        let id = grid.submit(&script).await;
        grid.printed(&id, "ready").await;
        grid.client.cancel(&id).await.unwrap();
        let ended = grid.end(&id).await;
        assert_eq!(ended.outcome, Some(OutcomeBody::Cancelled { by: CancelledByBody::User }));
        let outputs = grid.outputs(&id).await;
        assert_eq!(grid.bytes(&outputs["kept.txt"]).await, b"kept");
        assert!(grid.log(&id, Stream::Stderr).await.contains("KeyboardInterrupt"));
        grid.stop().await;
    });
}

#[test]
fn a_script_that_ignores_every_signal_ends_at_its_time_limit_with_its_children() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid
            .script(
                "import signal, subprocess, time\n\
                 for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, signal.SIG_IGN)\n\
                 subprocess.Popen(['sleep', '600'])\nopen('kept', 'w')\nprint('deaf')\nwhile True: time.sleep(1)\n",
            )
            .with(|body| {
                body.timeout_ms = Some(2_000);
                body.grace_ms = Some(400);
            });
        let id = grid.submit(&script).await;
        let ended = grid.end(&id).await;
        assert_eq!(ended.outcome, Some(OutcomeBody::TimedOut { timeout_ms: 2_000 }));
        assert!(grid.outputs(&id).await.contains_key("kept"));
        assert_eq!(grid.log(&id, Stream::Stdout).await, "deaf\n");
        let stderr = grid.log(&id, Stream::Stderr).await;
        let warned: Vec<&str> = stderr.lines().map(|line| line.split(" of ").next().unwrap()).collect();
        assert_eq!(warned, ["rgrid: 80%", "rgrid: 95%"], "{stderr}");
        grid.stop().await;
    });
}

#[test]
fn a_longer_time_limit_reaches_a_running_script() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid
            .script("import time\nprint('ready')\ntime.sleep(4)\nprint('done')")
            .with(|body| body.timeout_ms = Some(3_000));
        let id = grid.submit(&script).await;
        grid.printed(&id, "ready").await;
        grid.client.extend(&id, crate::grid::DEADLINE).await.unwrap();
        assert_eq!(grid.end(&id).await.outcome, Some(OutcomeBody::Exited { code: 0 }));
        grid.stop().await;
    });
}

#[test]
fn stdin_arrives_while_the_script_runs_and_its_end_is_seen() {
    as_root(|| async {
        let grid = Grid::start().await;
        let text =
            "import sys\nprint(sys.stdin.readline().strip(), flush=True)\nprint(len(sys.stdin.read()))";
        let id = grid.submit(&grid.script(text).with(|body| body.stdin = true)).await;
        let write = async |offset: u64, eof: bool, bytes: &[u8]| {
            grid.client
                .write_stdin(&id, &WriteStdin { offset, eof, sha256: None }, bytes.to_vec())
                .await
                .unwrap()
        };
        write(0, false, b"first\n").await;
        grid.printed(&id, "first").await;
        write(6, true, &vec![b'x'; 100_000]).await;
        assert_eq!(grid.end(&id).await.outcome, Some(OutcomeBody::Exited { code: 0 }));
        assert_eq!(grid.log(&id, Stream::Stdout).await, "first\n100000\n");

        // Without a stream, standard input is at its end.
        let id = grid.submit(&grid.script("input()")).await;
        assert_eq!(grid.end(&id).await.outcome, Some(OutcomeBody::Exited { code: 1 }));
        assert!(grid.log(&id, Stream::Stderr).await.contains("EOFError"));
        grid.stop().await;
    });
}

#[test]
fn every_byte_of_a_log_arrives_in_order() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid.script(
            "import sys, os\nfor i in range(40):\n    os.write(1, bytes([i]) * 50_000)\n    os.write(2, b'%d\\n' % i)\n",
        );
        let id = grid.submit(&script).await;
        assert_eq!(grid.end(&id).await.outcome, Some(OutcomeBody::Exited { code: 0 }));
        let expected: Vec<u8> = (0..40).flat_map(|i| vec![i; 50_000]).collect();
        assert_eq!(grid.log(&id, Stream::Stdout).await.as_bytes(), expected);
        let lines: String = (0..40).map(|i| format!("{i}\n")).collect();
        assert_eq!(grid.log(&id, Stream::Stderr).await, lines);
        grid.stop().await;
    });
}

#[test]
fn a_value_that_is_named_like_a_secret_is_in_no_log() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = "import os, sys\nfor word in 'has ', os.environ['API_TOKEN'][:5], os.environ['API_TOKEN'][5:]:\n    print(word, end='', flush=True)\nprint(os.environ['API_TOKEN'], file=sys.stderr)\n";
        let script = grid.script(script).with(|body| {
            body.environment.insert("API_TOKEN".to_owned(), "planted-value".to_owned());
        });
        let id = grid.submit(&script).await;
        assert_eq!(grid.end(&id).await.outcome, Some(OutcomeBody::Exited { code: 0 }));
        let (stdout, stderr) = (grid.log(&id, Stream::Stdout).await, grid.log(&id, Stream::Stderr).await);
        assert_eq!((stdout.as_str(), stderr.as_str()), ("has ***", "***\n"));
    });
}

#[test]
fn a_script_outlives_the_loss_of_the_grid_and_nothing_it_printed_is_lost() {
    as_root(|| async {
        let grid = Grid::start().await;
        let script = grid.script(
            "import os, time\nprint('ready')\nfor i in range(60):\n    os.write(1, b'%06d\\n' % i * 5_000)\n    time.sleep(0.01)\nopen('made', 'w')",
        );
        let id = grid.submit(&script).await;
        grid.printed(&id, "ready").await;
        grid.wire.cut();
        // More than the runner buffers is printed meanwhile, and the script may well reach its end.
        let printed_much = grid.printed(&id, "000059");
        assert!(tokio::time::timeout(std::time::Duration::from_secs(3), printed_much).await.is_err());
        assert_eq!(grid.client.execution(&id).await.unwrap().status, "running");
        grid.wire.mend();
        let ended = grid.end(&id).await;
        assert_eq!((ended.outcome, ended.attempt), (Some(OutcomeBody::Exited { code: 0 }), 1));
        let expected: String = (0..60).map(|i| format!("{i:06}\n").repeat(5_000)).collect();
        assert!(
            grid.log(&id, Stream::Stdout).await == format!("ready\n{expected}"),
            "a byte is missing or doubled"
        );
        assert!(grid.outputs(&id).await.contains_key("made"));
        grid.stop().await;
    });
}

#[test]
fn outputs_whose_addresses_are_over_are_sent_to_fresh_ones() {
    as_root(|| async {
        let grid = Grid::start().await;
        grid.wire.refuse_uploads(3);
        let id = grid.submit(&grid.script("for n in '123':\n    open('made' + n, 'w').write(n)\n")).await;
        let ended = grid.end(&id).await;
        assert_eq!((ended.outcome, ended.attempt), (Some(OutcomeBody::Exited { code: 0 }), 1));
        assert_eq!((grid.outputs(&id).await.len(), grid.wire.refusals_left()), (3, 0));
        grid.stop().await;
    });
}

#[test]
fn a_runner_that_is_told_to_stop_hands_back_at_once_and_knows_itself_when_it_returns() {
    as_root(|| async {
        let mut grid = Grid::start().await;
        let script = grid.script(
            "import os, time\nprint('ready', flush=True)\nif os.path.exists('never'): pass\ntime.sleep(600)",
        );
        let id = grid.submit(&script).await;
        grid.printed(&id, "ready").await;
        let leaving = std::mem::replace(
            &mut grid.runner,
            crate::grid::Runner { stop: Default::default(), running: tokio::spawn(async { Ok(()) }) },
        );
        leaving.stop().await.unwrap();
        let queued = grid.client.execution(&id).await.unwrap();
        assert_eq!((queued.status.as_str(), queued.attempt), ("queued", 1));
        let attempts = grid.client.attempts(&id).await.unwrap().attempts;
        assert_eq!(attempts[0].state, "handed_back");
        grid.restart_runner();
        grid.until(&id, |execution| execution.attempt == 2).await;
        assert_eq!(grid.client.workers().await.unwrap().workers.len(), 1);
        grid.client.cancel(&id).await.unwrap();
        grid.end(&id).await;
        grid.stop().await;
    });
}

#[test]
fn a_second_runner_in_the_same_folder_is_refused() {
    as_root(|| async {
        let grid = Grid::start().await;
        grid.run(&grid.script("pass")).await;
        let second = crate::grid::Runner::start(
            "http://127.0.0.1:9",
            rgrid_runner::JoinSource::Joined,
            grid.data.path().to_owned(),
            true,
            rgrid_core::runtime::SandboxKind::Process,
        );
        let error = second.running.await.unwrap().unwrap_err();
        assert!(matches!(error, rgrid_runner::Error::FolderInUse { .. }), "{error}");
        grid.stop().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_how_much_of_large_files_has_come_to_the_worker() {
    let grid = Grid::of_workers().await;
    let script = grid.script("print('runs')").file(&format!("{PROJECT}/large.bin"), &[7; 8 << 20]);
    grid.wire.hold_answers_after(1 << 20);
    let id = grid.submit(&script).await;
    let said = |execution: &Execution| execution.waiting.clone().unwrap_or_default();
    let arriving = |execution: &Execution| said(execution).starts_with("its files are brought");
    let sentence = said(&grid.until(&id, arriving).await);
    let come = sentence.strip_prefix("its files are brought to the worker first: ").unwrap();
    assert_eq!(come, "1M of 8M; then it starts");
    grid.wire.hold_answers_after(u64::MAX);
    grid.printed(&id, "runs").await;
    assert_eq!(said(&grid.end(&id).await), "");
    grid.stop().await;
}

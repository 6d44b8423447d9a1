//! Output on its way to the person.

use rgrid_api::bytes64::Bytes64;
use rgrid_api::dependencies::{EnvironmentOriginBody, TellEnvironmentLog};
use rgrid_api::logs::Stream;
use rgrid_api::outcome::OutcomeBody;

use super::harness::Grid;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_reach_the_right_stream_unchanged_and_the_exit_code_is_the_scripts() {
    let grid = Grid::start().await;
    grid.write("s.py", "print('hello')");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py", "--flag", "a b"]);
    let mut attempt = worker.lease().await;
    assert_eq!(attempt.lease.args, ["--flag", "a b"]);
    attempt.push(Stream::Stdout, b"one\r50%\r100%\n\xf0\x9f").await;
    attempt.push(Stream::Stdout, b"\xa6\x80\n").await;
    attempt.print_error("warning\n").await;
    attempt.exit(7).await;
    let ended = process.end().await;
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(7), "one\r50%\r100%\n🦀\n", "warning\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_leaves_no_gap_and_no_repetition() {
    let mut grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("first\n").await;
    process.stdout_has("first\n").await;
    grid.restart().await;
    attempt.print("second\n").await;
    attempt.exit(0).await;
    let ended = process.end().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "first\nsecond\n"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_handed_back_is_not_shown_twice() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let mut process = grid.rgrid(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("one\ntwo\n").await;
    process.stdout_has("two\n").await;
    worker.client.hand_back(&attempt.reference).await.unwrap();
    let mut attempt = worker.lease().await;
    assert_eq!(attempt.lease.attempt, 2);
    attempt.print("one\ntwo\nthree\n").await;
    attempt.exit(0).await;
    let ended = process.end().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "one\ntwo\nthree\n"));
    assert!(ended.stderr.contains("attempt 2 starts from the beginning"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_show_again_what_was_written_whole_or_its_end() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py"]);
    let mut attempt = worker.lease().await;
    attempt.print("one\ntwo\nthree\n").await;
    attempt.print_error("oh\n").await;
    attempt.exit(3).await;
    assert_eq!(process.end().await.code, Some(3));

    let whole = grid.rgrid(&["logs", "last"]).end().await;
    assert_eq!(
        (whole.code, whole.stdout.as_str(), whole.stderr.as_str()),
        (Some(0), "one\ntwo\nthree\n", "oh\n")
    );
    let only = grid.rgrid(&["logs", "last", "--stderr-only"]).end().await;
    assert_eq!((only.stdout.as_str(), only.stderr.as_str()), ("", "oh\n"));
    let followed = grid.rgrid(&["logs", "last", "-f"]).end().await;
    assert_eq!((followed.code, followed.stdout.as_str()), (Some(3), "one\ntwo\nthree\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_packages_were_installed_is_shown_as_it_was_said() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py"]);
    let attempt = worker.lease().await;
    let packages = async || {
        let shown = grid.rgrid(&["logs", "last", "--packages"]).end().await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        (shown.stdout, shown.stderr)
    };
    let (shown, said) = packages().await;
    assert_eq!(
        (shown.as_str(), said.as_str()),
        ("", "rgrid: it has no packages: nothing was installed for it\n")
    );

    // What a source package prints is the user's own: it passes unchanged.
    let log = "Built mine\n\x1b[1mInstalled\x1b[0m 1 package\n + six==1.16.0";
    let tell = async |origin| {
        let body = TellEnvironmentLog { origin, log: Some(Bytes64(log.as_bytes().to_vec())) };
        worker.client.tell_environment_log(&attempt.reference, &body).await.unwrap();
    };
    tell(EnvironmentOriginBody::Built).await;
    assert_eq!(packages().await, (log.to_owned(), String::new()));
    tell(EnvironmentOriginBody::Kept).await;
    let (shown, said) = packages().await;
    assert_eq!(shown, log);
    assert_eq!(
        said,
        "rgrid: its packages were there already; this is what was said when they were installed\n"
    );
    let quiet = grid.rgrid(&["logs", "last", "--packages", "--quiet"]).end().await;
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), (log, ""));
    let both = grid.rgrid(&["logs", "last", "--packages", "-f"]).end().await;
    assert_eq!(both.code, Some(126), "{both:?}");

    attempt.finish(OutcomeBody::DependenciesFailed { message: "[...] no six".to_owned() }, Vec::new()).await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(125), "{ended:?}");
    let id = grid.client().execution("last").await.unwrap().id;
    assert!(ended.stderr.contains(&format!("next: `rgrid logs {id} --packages` shows")), "{ended:?}");
}

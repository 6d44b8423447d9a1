//! Files on their way there and back.

use std::os::unix::fs::PermissionsExt;

use rgrid_api::executions::InputBody;
use rgrid_api::outcome::OutcomeBody;

use super::harness::Grid;

const DONE: OutcomeBody = OutcomeBody::Exited { code: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn what_the_script_wrote_lies_where_it_would_have_written_it() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    grid.write("data/in.csv", "old");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py", "data/in.csv"]);
    let attempt = worker.lease().await;
    let sent: Vec<_> = attempt
        .lease
        .inputs
        .iter()
        .filter_map(|input| match input {
            InputBody::File { path, .. } => Some(path.clone()),
            InputBody::Folder { .. } | InputBody::Symlink { .. } => None,
        })
        .collect();
    assert_eq!(
        sent,
        [grid.path("data/in.csv"), grid.path("s.py")].map(|path| path.to_str().unwrap().to_owned())
    );
    let big = vec![7; 3 << 20];
    let outputs = vec![
        attempt.output(&grid.path("data/in.csv"), b"edited in place").await,
        attempt.output(&grid.path("new/deep/out.bin"), &big).await,
    ];
    attempt.finish(DONE, outputs).await;
    let ended = process.end().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(grid.read("data/in.csv"), "edited in place");
    let out = grid.path("new/deep/out.bin");
    assert_eq!(std::fs::read(&out).unwrap(), big);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o640);
    let beside: Vec<_> = std::fs::read_dir(out.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "what is written aside is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_edited_meanwhile_is_kept_and_ours_lies_beside() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    grid.write("a.txt", "old");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py", "a.txt"]);
    let attempt = worker.lease().await;
    grid.write("a.txt", "edited by hand");
    let id = attempt.lease.execution_id.clone();
    let output = attempt.output(&grid.path("a.txt"), b"by the script").await;
    attempt.finish(DONE, vec![output]).await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(grid.read("a.txt"), "edited by hand");
    assert_eq!(grid.read(&format!("a.txt.{id}")), "by the script");
    assert!(ended.stderr.contains("changed here meanwhile and was kept"), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_inputs_are_not_sent_again() {
    let grid = Grid::start().await;
    grid.write("s.py", "print(1)");
    for _ in 0..2 {
        let sent = grid.rgrid(&["run", "-d", "s.py"]).end().await;
        assert_eq!(sent.code, Some(0), "{}", sent.stderr);
        let execution = grid.client().execution(sent.stdout.trim()).await.unwrap();
        assert_eq!((execution.status.as_str(), execution.inputs_missing), ("queued", 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_several_parts_arrives_whole() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let bytes: Vec<u8> = (0..40u32 << 20).map(|i| (i >> 8) as u8 ^ i as u8).collect();
    std::fs::write(grid.path("big.bin"), &bytes).unwrap();
    let sent = grid.rgrid(&["run", "-d", "s.py", "big.bin"]).end().await;
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let execution = grid.client().execution("last").await.unwrap();
    assert_eq!(execution.status, "queued");
}

#[tokio::test(flavor = "multi_thread")]
async fn download_brings_the_files_again_into_a_folder_of_choice() {
    let grid = Grid::start().await;
    grid.write("s.py", "");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "s.py"]);
    let attempt = worker.lease().await;
    let output = attempt.output(&grid.path("out/r.txt"), b"result").await;
    attempt.finish(DONE, vec![output]).await;
    assert_eq!(process.end().await.code, Some(0));
    let again = grid.rgrid(&["download", "last", "--output-dir", "copy"]).end().await;
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert_eq!(grid.read("copy/out/r.txt"), "result");
}

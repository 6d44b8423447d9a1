//! Asks an interpreter about itself, by starting it once.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::InterpreterError;
use super::answers::Answer;

/// A Python that does not answer in this time does not run.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often we look whether it has ended.
const LOOK_PERIOD: Duration = Duration::from_millis(2);
/// What is kept of its words.
const WORDS_BYTES_MAX: u64 = 64 << 10;

/// Python 2 must be able to answer this, too.
const QUESTION: &str = "import sys
base = getattr(sys, 'base_prefix', sys.prefix)
sys.stdout.write('\\n'.join(['rgrid', '%d.%d' % sys.version_info[:2], sys.executable, sys.prefix, base, '']))";

/// Starts the program and reads its answer.
pub(super) fn ask(program: &Path) -> Result<Answer, InterpreterError> {
    let broken = |message: String| InterpreterError::Broken { path: program.to_owned(), message };
    let mut child = Command::new(program)
        .args(["-I", "-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| broken(error.to_string()))?;
    let started = Instant::now();
    // Its answer is far smaller than a pipe holds, so that it can end before we read.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < DEADLINE => std::thread::sleep(LOOK_PERIOD),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(broken(format!("it did not answer within {} s", DEADLINE.as_secs())));
            }
            Err(error) => return Err(broken(error.to_string())),
        }
    };
    let read = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(WORDS_BYTES_MAX).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let said = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read));
    if !status.success() {
        let words = read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read));
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(broken(if last.is_empty() { status.to_string() } else { last.to_owned() }));
    }
    parse(&said, program).map_err(broken)
}

fn parse(said: &str, program: &Path) -> Result<Answer, String> {
    let after = said.split_once("rgrid\n").map(|(_, after)| after);
    let mut lines = after.unwrap_or_default().lines();
    let (Some(version), Some(path), Some(prefix), Some(base_prefix)) =
        (lines.next(), lines.next(), lines.next(), lines.next())
    else {
        return Err("it did not answer as a Python does".to_owned());
    };
    let minor = version.strip_prefix("3.").and_then(|minor| minor.parse().ok());
    let Some(minor) = minor else {
        return Err(format!("it is Python {version}, and Python 3 is needed"));
    };
    let path = if path.is_empty() { program.to_owned() } else { PathBuf::from(path) };
    Ok(Answer { path, minor, prefix: prefix.into(), base_prefix: base_prefix.into() })
}

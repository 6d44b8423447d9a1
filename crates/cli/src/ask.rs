//! Questions to the person. A terminal is left as it was found, whatever they answer.

use std::io::{self, BufRead};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::errors::{Doing, Error};
use crate::interrupt::Signals;
use crate::terminal::{Terminal, write_stderr};

/// Asks for a line of text; `instead` says what to do where there is nobody to ask.
pub(crate) async fn line(
    terminal: Terminal,
    question: &'static str,
    instead: &'static str,
    signals: &mut Signals,
) -> Result<String, Error> {
    if !terminal.stdin || !terminal.stderr {
        return Err(Error::NobodyToAsk { question, instead });
    }
    write_stderr(&format!("{question}: "));
    read(signals).await
}

/// Asks for a secret: what is typed is not seen.
pub(crate) async fn secret(
    terminal: Terminal,
    question: &'static str,
    instead: &'static str,
    signals: &mut Signals,
) -> Result<String, Error> {
    if !terminal.stdin || !terminal.stderr {
        return Err(Error::NobodyToAsk { question, instead });
    }
    write_stderr(&format!("{question} (it is not shown): "));
    let _unseen = Unseen::begin();
    let answer = read(signals).await;
    write_stderr("\n");
    answer
}

/// Asks yes or no; anything but yes is no.
pub(crate) async fn confirm(question: &str, signals: &mut Signals) -> Result<bool, Error> {
    write_stderr(&format!("{question} [y/N] "));
    let answer = read(signals).await?;
    Ok(matches!(answer.to_lowercase().as_str(), "y" | "yes"))
}

async fn read(signals: &mut Signals) -> Result<String, Error> {
    // The thread that reads may be left behind: it dies with the process.
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    tokio::select! {
        line = reading => match line.expect("reading a line neither panics nor is aborted") {
            Ok(line) => Ok(line.trim().to_owned()),
            Err(source) => Err(Error::File { doing: Doing::Read, path: "standard input".into(), source }),
        },
        _ = signals.next() => Err(Error::Interrupted),
    }
}

/// While it lives, the terminal shows nothing of what is typed.
struct Unseen(Option<Termios>);

impl Unseen {
    fn begin() -> Self {
        let Ok(found) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut unseen = found.clone();
        unseen.local_flags.remove(LocalFlags::ECHO);
        match tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &unseen) {
            Ok(()) => Self(Some(found)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(found) = &self.0 {
            // The terminal took the opposite a moment ago.
            let _ = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, found);
        }
    }
}

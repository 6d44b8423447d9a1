//! The person's side: what their terminal can do, how text reaches it, and that nothing raw does.
//!
//! Results go to stdout, all else to stderr. A stream that is gone is not worth a panic: `print!` would have one.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use terminal_size::{Height, Width, terminal_size_of};

/// What the three streams are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terminal {
    /// Somebody can type.
    pub stdin: bool,
    /// Results are seen by a person.
    pub stdout: bool,
    /// Notes are seen by a person.
    pub stderr: bool,
    /// They may be coloured.
    pub colour: bool,
    /// Columns of the terminal.
    pub columns: Option<u16>,
}

impl Terminal {
    /// Looks at the streams and at TERM and NO_COLOR.
    pub(crate) fn look() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let width = |size: Option<(Width, Height)>| {
            size.map(|(Width(columns), _)| columns).filter(|columns| *columns > 0)
        };
        let columns = width(terminal_size_of(io::stdout())).or_else(|| width(terminal_size_of(io::stderr())));
        Self { stdin: io::stdin().is_terminal(), stdout, stderr, colour: !set("NO_COLOR") && !dumb, columns }
    }
}

/// What is said to the person beside the results: on stderr, and not at all when they want it quiet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notes {
    quiet: bool,
    colour: bool,
}

impl Notes {
    pub(crate) fn new(terminal: Terminal, quiet: bool) -> Self {
        Self { quiet, colour: terminal.colour && terminal.stderr }
    }

    /// One sentence.
    pub(crate) fn say(&self, sentence: &str) {
        if !self.quiet {
            self.insist(sentence);
        }
    }

    /// One sentence that stands even when it is to be quiet: without it something would be lost.
    pub(crate) fn insist(&self, sentence: &str) {
        let (dim, plain) = if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        write_stderr(&format!("{dim}rgrid: {sentence}{plain}\n"));
    }

    /// True when nothing but results and errors is wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }
}

/// Writes a result. A reader that left early, as `head` does, is no failure.
pub(crate) fn print(text: &str) {
    let mut out = io::stdout().lock();
    // Nowhere to tell that stdout is gone, and no reason to.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to stderr, whole: a line is never torn by another thread's.
pub(crate) fn write_stderr(text: &str) {
    // Nowhere to tell that stderr is gone.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// A name as it may reach a terminal: control characters, and those that turn the direction of text, are spelled out.
pub(crate) fn shown(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            c if c.is_control() => out.extend(c.escape_default()),
            c if turns_or_commands(c) => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Somebody's own lines as they may reach a terminal, each below the one before and indented.
pub(crate) fn below(words: &str) -> String {
    words.lines().map(|line| format!("\n  {}", shown(line)).trim_end_matches(' ').to_owned()).collect()
}

/// A word of a command line that can be typed, in which a terminal finds nothing to obey.
pub(crate) fn quoted(word: &str) -> String {
    let shown = shown(word);
    // It fails for a NUL, and that was spelled out.
    shlex::try_quote(&shown).map_or_else(|_| shown.clone(), std::borrow::Cow::into_owned)
}

/// Whether a terminal may obey a character, or turn the direction of the text after it.
pub(crate) fn turns_or_commands(c: char) -> bool {
    let turns =
        matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_command_the_terminal() {
        insta::assert_snapshot!(shown("a\x1b[2Jb\nc\u{9b}d\u{202e}é \"x\""), @r#"a\u{1b}[2Jb\nc\u{9b}d\u{202e}é "x""#);
    }

    #[test]
    fn a_word_to_type_cannot_either() {
        insta::assert_snapshot!(quoted("two words"), @"'two words'");
        insta::assert_snapshot!(quoted("a\x1b[2J \u{202e}\0"), @r#""a\\u{1b}[2J \\u{202e}\\u{0}""#);
    }
}

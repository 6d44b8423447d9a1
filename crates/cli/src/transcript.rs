//! What was printed so far of an execution's output, and what the next chunk adds to it. Pure: it prints nothing.
//!
//! A chunk that was seen already adds nothing. When another attempt starts from its beginning, output equal to what
//! stands on the terminal is suppressed, and the first difference is told.

use std::io::{Read, Seek, SeekFrom, Write};

use rgrid_api::logs::{Cursor, LogChunk, Stream};
use rgrid_core::quantity::format_bytes;
use tempfile::SpooledTempFile;

/// What was printed is remembered in memory up to here, and in an unlinked file beyond.
const REMEMBERED_BYTES_MAX: usize = 1 << 20;
/// The end of standard error that hints are looked for in.
const TAIL_BYTES_MAX: usize = 64 << 10;
/// Bytes that are compared at a time.
const COMPARED_BYTES: usize = 16 << 10;

/// What a chunk adds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// Bytes for one of the person's streams.
    Bytes(Stream, Vec<u8>),
    /// A sentence for stderr.
    Note(String),
}

/// What stands on the person's terminal.
pub(crate) struct Transcript {
    cursor: Cursor,
    stdout: Printed,
    stderr: Printed,
    tail: Vec<u8>,
}

/// What was printed of one stream.
struct Printed {
    name: &'static str,
    bytes: SpooledTempFile,
    len: u64,
    /// False once a gap, a full disk or a difference makes comparing with `bytes` pointless.
    comparable: bool,
}

impl Transcript {
    /// Nothing is printed, and nothing before `cursor` will be.
    pub(crate) fn from(cursor: Cursor) -> Self {
        Self {
            cursor,
            stdout: Printed::new("standard output"),
            stderr: Printed::new("standard error"),
            tail: Vec::new(),
        }
    }

    /// Where to read on.
    pub(crate) fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The end of standard error, as text.
    pub(crate) fn stderr_tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }

    /// Takes the next chunk.
    pub(crate) fn take(&mut self, chunk: &LogChunk) -> Vec<Addition> {
        // No log reaches so far: what sends this is no grid, and none of its numbers can be reckoned with.
        let is_beyond = i64::try_from(chunk.end()).is_err();
        if chunk.attempt < self.cursor.attempt || is_beyond {
            return Vec::new();
        }
        let mut additions = Vec::new();
        let mut seen = self.cursor;
        if chunk.attempt > seen.attempt {
            if seen.attempt > 0 {
                additions.push(Addition::Note(format!(
                    "attempt {} was lost; attempt {} starts from the beginning, and what it repeats is not shown again",
                    seen.attempt, chunk.attempt
                )));
                self.tail.clear();
            }
            seen = Cursor { attempt: chunk.attempt, stdout: 0, stderr: 0 };
        }
        let (at, printed) = match chunk.stream {
            Stream::Stdout => (seen.stdout, &mut self.stdout),
            Stream::Stderr => (seen.stderr, &mut self.stderr),
        };
        let bytes = &chunk.bytes.0;
        let end = chunk.end();
        if end < at || (end == at && end > chunk.offset) {
            self.cursor = seen;
            return additions;
        }
        if chunk.offset > at {
            additions.push(printed.gap(at, chunk.offset - at));
        }
        let fresh = bytes.get(at.saturating_sub(chunk.offset) as usize..).unwrap_or_default();
        if !fresh.is_empty() {
            additions.extend(printed.add(at.max(chunk.offset), fresh, chunk.attempt, chunk.stream));
            if chunk.stream == Stream::Stderr {
                self.tail.extend_from_slice(fresh);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL_BYTES_MAX));
            }
        }
        if chunk.gap_bytes > 0 {
            additions.push(printed.gap(chunk.offset + bytes.len() as u64, chunk.gap_bytes));
        }
        self.cursor = seen.after(chunk);
        additions
    }

    /// The execution ended: what the last attempt did not repeat is told.
    pub(crate) fn end(&mut self) -> Vec<Addition> {
        let cursor = self.cursor;
        [(&self.stdout, cursor.stdout), (&self.stderr, cursor.stderr)]
            .into_iter()
            .filter(|(printed, at)| printed.comparable && *at < printed.len)
            .map(|(printed, at)| {
                Addition::Note(format!(
                    "attempt {} wrote only {at} bytes to {}: the last {} above are of a lost attempt",
                    cursor.attempt,
                    printed.name,
                    printed.len - at
                ))
            })
            .collect()
    }
}

impl Printed {
    fn new(name: &'static str) -> Self {
        Self { name, bytes: SpooledTempFile::new(REMEMBERED_BYTES_MAX), len: 0, comparable: true }
    }

    fn gap(&mut self, at: u64, missing: u64) -> Addition {
        self.comparable = false;
        self.len = self.len.max(at + missing);
        Addition::Note(format!(
            "{} of {} are missing here: the log has a limit",
            format_bytes(missing),
            self.name
        ))
    }

    /// `bytes` come at offset `at`: what is beyond the printed ones, or from the first difference on, is new.
    fn add(&mut self, at: u64, bytes: &[u8], attempt: u32, stream: Stream) -> Vec<Addition> {
        let mut additions = Vec::new();
        let repeated = self.len.saturating_sub(at).min(bytes.len() as u64) as usize;
        let mut new_from = 0;
        if repeated > 0 && self.comparable {
            new_from = self.equal_bytes(at, &bytes[..repeated]);
            if new_from < repeated {
                additions.push(Addition::Note(format!(
                    "from here on attempt {attempt} wrote other bytes to {} than the lost one (from byte {})",
                    self.name,
                    at + new_from as u64
                )));
                self.comparable = false;
            }
        }
        if new_from < bytes.len() {
            let new = &bytes[new_from..];
            self.remember(at + new_from as u64, new);
            additions.push(Addition::Bytes(stream, new.to_vec()));
        }
        additions
    }

    fn remember(&mut self, at: u64, bytes: &[u8]) {
        self.len = self.len.max(at + bytes.len() as u64);
        // Without it a later attempt's output is shown whole, and that is all.
        if self.comparable {
            self.comparable =
                self.bytes.seek(SeekFrom::Start(at)).and_then(|_| self.bytes.write_all(bytes)).is_ok();
        }
    }

    /// How many of `bytes` equal what was printed from `at` on.
    fn equal_bytes(&mut self, at: u64, bytes: &[u8]) -> usize {
        if self.bytes.seek(SeekFrom::Start(at)).is_err() {
            return 0;
        }
        let mut buffer = [0; COMPARED_BYTES];
        let mut equal = 0;
        for part in bytes.chunks(COMPARED_BYTES) {
            let old = &mut buffer[..part.len()];
            if self.bytes.read_exact(old).is_err() {
                break;
            }
            let same = part.iter().zip(old.iter()).take_while(|(new, old)| new == old).count();
            equal += same;
            if same < part.len() {
                break;
            }
        }
        equal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rgrid_api::bytes64::Bytes64;

    fn chunk(attempt: u32, stream: Stream, offset: u64, text: &str) -> LogChunk {
        let at = chrono::DateTime::UNIX_EPOCH;
        LogChunk { attempt, stream, offset, bytes: Bytes64(text.as_bytes().to_vec()), gap_bytes: 0, at }
    }

    /// The additions of each chunk, one a line.
    fn check(chunks: &[LogChunk]) -> String {
        let mut transcript = Transcript::from(Cursor::default());
        let mut lines = Vec::new();
        let mut show = |additions: Vec<Addition>| {
            for addition in additions {
                lines.push(match addition {
                    Addition::Bytes(stream, bytes) => {
                        format!("{}: {}", stream.as_str(), String::from_utf8(bytes).unwrap())
                    }
                    Addition::Note(sentence) => format!("note: {sentence}"),
                });
            }
        };
        for chunk in chunks {
            show(transcript.take(chunk));
        }
        show(transcript.end());
        lines.join("\n")
    }

    use Stream::{Stderr, Stdout};

    #[test]
    fn a_chunk_that_was_seen_adds_nothing_and_one_seen_in_part_adds_the_rest() {
        insta::assert_snapshot!(check(&[
            chunk(1, Stdout, 0, "abc"),
            chunk(1, Stdout, 0, "abc"),
            chunk(1, Stdout, 2, "cde"),
            chunk(1, Stderr, 0, "oh"),
        ]), @r"
            stdout: abc
            stdout: de
            stderr: oh
        ");
    }

    #[test]
    fn equal_output_of_the_next_attempt_is_not_shown_again() {
        insta::assert_snapshot!(check(&[
            chunk(1, Stdout, 0, "one\ntwo\n"),
            chunk(2, Stdout, 0, "one\n"),
            chunk(2, Stdout, 4, "two\nthree\n"),
        ]), @r"
            stdout: one
            two

            note: attempt 1 was lost; attempt 2 starts from the beginning, and what it repeats is not shown again
            stdout: three
        ");
    }

    #[test]
    fn the_first_difference_is_told_and_all_from_there_is_shown() {
        insta::assert_snapshot!(check(&[
            chunk(1, Stdout, 0, "seed 1\nx\n"),
            chunk(2, Stdout, 0, "seed 2\nx\n"),
            chunk(2, Stdout, 9, "y\n"),
        ]), @r"
            stdout: seed 1
            x

            note: attempt 1 was lost; attempt 2 starts from the beginning, and what it repeats is not shown again
            note: from here on attempt 2 wrote other bytes to standard output than the lost one (from byte 5)
            stdout: 2
            x

            stdout: y
        ");
    }

    #[test]
    fn an_attempt_that_writes_less_is_told_at_the_end() {
        insta::assert_snapshot!(check(&[
            chunk(1, Stdout, 0, "one\ntwo\n"),
            chunk(2, Stdout, 0, "one\n"),
        ]), @r"
            stdout: one
            two

            note: attempt 1 was lost; attempt 2 starts from the beginning, and what it repeats is not shown again
            note: attempt 2 wrote only 4 bytes to standard output: the last 4 above are of a lost attempt
        ");
    }

    #[test]
    fn a_lost_attempts_late_chunk_adds_nothing() {
        insta::assert_snapshot!(check(&[chunk(2, Stdout, 0, "new"), chunk(1, Stdout, 0, "old")]), @"stdout: new");
    }

    #[test]
    fn a_gap_and_a_hole_are_told() {
        let mut gap = chunk(1, Stdout, 3, "");
        gap.gap_bytes = 5 << 20;
        insta::assert_snapshot!(check(&[
            chunk(1, Stdout, 0, "abc"),
            gap,
            chunk(1, Stdout, 3 + (5 << 20), "end"),
            chunk(1, Stderr, 2048, "late"),
        ]), @r"
            stdout: abc
            note: 5M of standard output are missing here: the log has a limit
            stdout: end
            note: 2K of standard error are missing here: the log has a limit
            stderr: late
        ");
    }

    #[test]
    fn a_chunk_beyond_what_a_log_can_hold_adds_nothing() {
        let mut gap = chunk(1, Stdout, 3, "");
        gap.gap_bytes = u64::MAX;
        let far = chunk(2, Stdout, u64::MAX, "far");
        insta::assert_snapshot!(check(&[chunk(1, Stdout, 0, "abc"), gap, far, chunk(1, Stdout, 3, "d")]), @r"
            stdout: abc
            stdout: d
        ");
    }

    #[test]
    fn output_beyond_what_memory_holds_is_compared_too() {
        let line = "x".repeat(1000);
        let mut chunks: Vec<_> = (0..1200).map(|i| chunk(1, Stdout, i * 1000, &line)).collect();
        chunks.extend((0..1200).map(|i| chunk(2, Stdout, i * 1000, &line)));
        chunks.push(chunk(2, Stdout, 1_200_000, "end"));
        let text = check(&chunks);
        assert!(text.ends_with("stdout: end") && text.matches("stdout: ").count() == 1201, "{}", text.len());
    }
}

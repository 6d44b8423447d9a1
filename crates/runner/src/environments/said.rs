//! What is said while an environment is built: heard without anything secret, bounded, and kept beside the environment as
//! its log. What a source package prints stands in it as it is.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rgrid_core::limits::ENVIRONMENT_LOG_BYTES_MAX;

use crate::mask::Mask;

/// Beside an environment, also in a packed one: the end of what was said when it was built.
pub(super) const LOG: &str = "log";
/// Of a longer line only the start is told.
const LINE_BYTES_MAX: usize = 200;
/// Room for the line that says how much is left out.
const LEFT_OUT_BYTES_MAX: usize = 64;

/// The end of what was said so far, and how much that leaves out.
#[derive(Debug, Default)]
pub(super) struct Said {
    end: Vec<u8>,
    left_out: usize,
}

impl Said {
    fn hear(&mut self, bytes: &[u8]) {
        self.end.extend_from_slice(bytes);
        if self.end.len() > 2 * ENVIRONMENT_LOG_BYTES_MAX {
            self.leave_out(self.end.len() - ENVIRONMENT_LOG_BYTES_MAX);
        }
    }

    fn leave_out(&mut self, bytes: usize) {
        self.end.drain(..bytes);
        self.left_out += bytes;
    }

    /// All of it, as a log: when it is more than that holds, its last lines with a first one that says so.
    pub(super) fn log(mut self) -> Vec<u8> {
        if self.left_out == 0 && self.end.len() <= ENVIRONMENT_LOG_BYTES_MAX {
            return self.end;
        }
        let room = ENVIRONMENT_LOG_BYTES_MAX - LEFT_OUT_BYTES_MAX;
        self.leave_out(self.end.len().saturating_sub(room));
        // From the start of a line, unless that is all one line.
        if let Some(at) = self.end.iter().position(|byte| *byte == b'\n')
            && at + 1 < self.end.len()
        {
            self.leave_out(at + 1);
        }
        let mut log = format!("[the first {} bytes are left out]\n", self.left_out).into_bytes();
        log.append(&mut self.end);
        log
    }

    /// The same after these sentences of ours, each on a line of its own.
    pub(super) fn log_with(mut self, sentences: &[String]) -> Vec<u8> {
        for sentence in sentences {
            if self.end.last().is_some_and(|byte| *byte != b'\n') {
                self.hear(b"\n");
            }
            self.hear(sentence.as_bytes());
            self.hear(b"\n");
        }
        self.log()
    }

    /// True when nothing was said that anybody could read.
    pub(super) fn is_blank(&self) -> bool {
        self.end.trim_ascii().is_empty()
    }
}

/// Listens until nobody speaks any more. Each line is told as soon as it is whole.
pub(super) fn listen(mut source: impl Read, mut mask: Mask, said: &Mutex<Said>, mut tell: impl FnMut(&str)) {
    let mut line = Vec::new();
    let mut hear = |bytes: &[u8]| {
        said.lock().unwrap_or_else(PoisonError::into_inner).hear(bytes);
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let whole = String::from_utf8_lossy(&line).trim().replace(char::is_control, " ");
                    if !whole.is_empty() {
                        tell(&whole);
                    }
                    line.clear();
                }
                other if line.len() < LINE_BYTES_MAX => line.push(*other),
                _ => {}
            }
        }
    };
    let mut piece = [0; 4096];
    while let Ok(read) = source.read(&mut piece) {
        if read == 0 {
            break;
        }
        hear(&mask.pass(&piece[..read]));
    }
    hear(&mask.end());
}

/// Reads the log of the environment in `made`, if it has one. What another worker packed is no link to elsewhere.
pub(super) fn read(made: &Path) -> io::Result<Option<Vec<u8>>> {
    let opened = fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(made.join(LOG));
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut log = Vec::new();
    file.take(ENVIRONMENT_LOG_BYTES_MAX as u64).read_to_end(&mut log)?;
    Ok(Some(log))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &[u8], mask: Mask) -> (Said, Vec<String>) {
        let (said, mut lines) = (Mutex::default(), Vec::new());
        listen(text, mask, &said, |line| lines.push(line.to_owned()));
        (said.into_inner().unwrap(), lines)
    }

    #[test]
    fn of_a_long_text_the_last_lines_are_kept_and_the_first_says_so() {
        let text = "a line of a build\n".repeat(20_000) + "the end";
        let log = heard(text.as_bytes(), Mask::default()).0.log();
        assert!(log.len() <= ENVIRONMENT_LOG_BYTES_MAX && log.len() > ENVIRONMENT_LOG_BYTES_MAX - 200);
        let log = String::from_utf8(log).unwrap();
        let (first, lines) = log.split_once('\n').unwrap();
        assert_eq!(first, format!("[the first {} bytes are left out]", text.len() - lines.len()));
        assert!(lines.starts_with("a line of a build\n") && text.ends_with(lines));
    }

    #[test]
    fn a_text_that_fits_is_kept_as_it_is_whatever_bytes_it_has() {
        let mut text = b"\x1b[31m\xff\0\r\n".to_vec();
        text.resize(ENVIRONMENT_LOG_BYTES_MAX, b'x');
        assert!(heard(&text, Mask::default()).0.log() == text);
        let endless = heard(&[b'x'; 3 * ENVIRONMENT_LOG_BYTES_MAX], Mask::default()).0.log();
        assert!(endless.len() <= ENVIRONMENT_LOG_BYTES_MAX && endless.ends_with(b"xxx"));
    }

    #[test]
    fn lines_are_told_as_they_come_and_secrets_in_none_of_them() {
        let credentials = [("https://index.example/simple".to_owned(), "me:hunter22".to_owned())].into();
        let mask = Mask::of_build(&Default::default(), &credentials);
        let text = b"Downloading\rBuilding\n\ncannot fetch https://me:hunter22@index.example\nuser: hunter22";
        let (said, lines) = heard(text, mask);
        assert_eq!(lines, ["Downloading", "Building", "cannot fetch https://***@index.example"]);
        let log = String::from_utf8(said.log_with(&["it ended".to_owned()])).unwrap();
        assert!(log.ends_with("\nuser: ***\nit ended\n") && !log.contains("hunter22"), "{log}");
    }

    #[test]
    fn a_log_is_read_from_its_file_and_from_no_link() {
        let made = tempfile::tempdir().unwrap();
        assert_eq!(read(made.path()).unwrap(), None);
        fs::write(made.path().join(LOG), "said").unwrap();
        assert_eq!(read(made.path()).unwrap().unwrap(), b"said");
        fs::remove_file(made.path().join(LOG)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", made.path().join(LOG)).unwrap();
        assert!(read(made.path()).is_err());
    }
}

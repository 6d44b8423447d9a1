//! Decides what a local file is worth when an output wants its place: a person's newer work is never overwritten.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::upload::modified_ns;

/// A file as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub sha256: String,
    pub size_bytes: u64,
    /// `None` when another machine, or an earlier command, sent it: then only its bytes tell.
    pub modified_ns: Option<i64>,
}

/// What to do with an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its bytes are there already.
    Equal,
    /// Put it at its place.
    Replace,
    /// Keep what is there, and put it beside.
    Keep,
}

/// Looks at what lies at `path`, where an output with hash `sha256` wants to go.
pub(crate) fn judge(
    path: &Path,
    sha256: &str,
    sent: Option<&Sent>,
    submitted: SystemTime,
) -> io::Result<Verdict> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Verdict::Replace),
        Err(error) => return Err(error),
    };
    // A folder, a link or a device in the place of a file was not there when the script ran.
    if !found.is_file() {
        return Ok(Verdict::Keep);
    }
    let untouched = match sent {
        Some(sent) => sent.size_bytes == found.len() && sent.modified_ns == Some(modified_ns(&found)),
        None => found.modified()? < submitted,
    };
    if untouched {
        // The script wrote again what it was sent: nothing needs to travel.
        let same = sent.is_some_and(|sent| sent.sha256 == sha256);
        return Ok(if same { Verdict::Equal } else { Verdict::Replace });
    }
    let here = hash(path)?;
    if here == sha256 {
        Ok(Verdict::Equal)
    } else if sent.is_some_and(|sent| sent.sha256 == here) {
        Ok(Verdict::Replace)
    } else {
        Ok(Verdict::Keep)
    }
}

/// Where an output goes whose place is taken: `NAME.<id>`.
pub(crate) fn beside(path: &Path, id: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(id);
    PathBuf::from(name)
}

/// The SHA-256 of a file, in lower-case hexadecimal.
pub(crate) fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const OURS: &str = "what the script wrote";

    fn sha(text: &str) -> String {
        hex(&Sha256::digest(text))
    }

    /// Writes `now`, says that `sent` was sent from there, and asks about [`OURS`].
    fn check(sent: Option<&str>, now: Option<&str>, submitted_after: bool) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let mut modified = None;
        if let Some(text) = sent {
            std::fs::write(&path, text).unwrap();
            modified = Some(modified_ns(&std::fs::metadata(&path).unwrap()));
        }
        match now {
            Some(text) if Some(text) != sent => {
                std::fs::write(&path, text).unwrap();
                let later = SystemTime::now() + Duration::from_secs(5);
                File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
            }
            Some(_) => {}
            None => std::fs::remove_file(&path).unwrap_or_default(),
        }
        let sent =
            sent.map(|text| Sent { sha256: sha(text), size_bytes: text.len() as u64, modified_ns: modified });
        let submitted = SystemTime::now() + Duration::from_secs(if submitted_after { 60 } else { 0 });
        judge(&path, &sha(OURS), sent.as_ref(), submitted).unwrap()
    }

    #[test]
    fn what_was_sent_and_not_touched_is_replaced() {
        assert_eq!(check(Some("old"), Some("old"), false), Verdict::Replace);
    }

    #[test]
    fn what_changed_since_it_was_sent_is_kept() {
        assert_eq!(check(Some("old"), Some("new work"), false), Verdict::Keep);
    }

    #[test]
    fn what_has_our_bytes_already_is_left_alone() {
        assert_eq!(check(Some("old"), Some(OURS), false), Verdict::Equal);
        assert_eq!(check(None, Some(OURS), false), Verdict::Equal);
        assert_eq!(check(Some(OURS), Some(OURS), false), Verdict::Equal);
    }

    #[test]
    fn what_was_not_sent_is_replaced_when_it_is_older_and_kept_when_it_is_younger() {
        assert_eq!(check(None, Some("yesterday's result"), true), Verdict::Replace);
        assert_eq!(check(None, Some("newer result"), false), Verdict::Keep);
    }

    #[test]
    fn what_is_gone_is_written_anew() {
        assert_eq!(check(Some("old"), None, false), Verdict::Replace);
    }

    #[test]
    fn a_touched_file_with_the_bytes_that_were_sent_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "old").unwrap();
        let sent = Sent { sha256: sha("old"), size_bytes: 3, modified_ns: None };
        assert_eq!(judge(&path, &sha(OURS), Some(&sent), SystemTime::UNIX_EPOCH).unwrap(), Verdict::Replace);
    }

    #[test]
    fn a_link_in_the_place_of_a_file_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        let far = SystemTime::now() + Duration::from_secs(3600);
        assert_eq!(judge(&path, &sha(OURS), None, far).unwrap(), Verdict::Keep);
        assert_eq!(beside(Path::new("/p/a.txt"), "exec_1"), Path::new("/p/a.txt.exec_1"));
    }
}

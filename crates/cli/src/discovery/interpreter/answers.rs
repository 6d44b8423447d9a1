//! What interpreters said about themselves, remembered as long as their files stay as they are. One small file; a
//! damaged one is as good as none.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::hashes::Stamp;
use super::{Interpreter, Source};

/// Interpreters that are remembered.
const ANSWERS_MAX: usize = 100;
/// A larger file of ours is not read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What an interpreter said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) path: PathBuf,
    pub(super) minor: u8,
    pub(super) prefix: PathBuf,
    pub(super) base_prefix: PathBuf,
}

impl Answer {
    pub(super) fn interpreter(&self, source: Source) -> Interpreter {
        let Self { path, minor, prefix, base_prefix } = self.clone();
        Interpreter { path, minor, source, prefix, base_prefix }
    }
}

/// The state of the files that make an interpreter what it is: its program, and the settings of its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    real: PathBuf,
    program: (u64, i64, u64),
    settings: Option<(u64, i64, u64)>,
}

impl State {
    /// `None` when there is no such program.
    pub(super) fn of(program: &Path) -> Option<Self> {
        let stamp = |path: &Path| {
            fs::metadata(path).ok().map(|metadata| {
                let stamp = Stamp::of(&metadata);
                (stamp.size_bytes, stamp.modified_ns, stamp.inode)
            })
        };
        let real = program.canonicalize().ok()?;
        let environment = program.parent().and_then(Path::parent);
        let settings = environment.and_then(|environment| stamp(&environment.join("pyvenv.cfg")));
        Some(Self { program: stamp(&real)?, real, settings })
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Answers {
    file: Option<PathBuf>,
    known: BTreeMap<PathBuf, (State, Answer)>,
}

impl Answers {
    pub(super) fn load(cache_folder: Option<&Path>) -> Self {
        let Some(file) = cache_folder.map(|folder| folder.join("interpreters.json")) else {
            return Self::default();
        };
        let is_small = fs::metadata(&file).is_ok_and(|metadata| metadata.len() <= FILE_BYTES_MAX);
        let bytes = if is_small { fs::read(&file).ok() } else { None };
        let known = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { file: Some(file), known }
    }

    pub(super) fn get(&self, program: &Path, state: &State) -> Option<&Answer> {
        let (known, answer) = self.known.get(program)?;
        // The interpreter may name another file as itself: that one must still be there.
        (known == state && answer.path.exists()).then_some(answer)
    }

    /// Keeps an answer. A cache that cannot be written costs time and nothing else, so the failure ends here.
    pub(super) fn keep(&mut self, program: &Path, state: State, answer: Answer) {
        if self.known.len() >= ANSWERS_MAX {
            self.known.clear();
        }
        self.known.insert(program.to_owned(), (state, answer));
        let _ = self.write();
    }

    fn write(&self) -> io::Result<()> {
        let Some((file, folder)) = self.file.as_ref().and_then(|file| Some((file, file.parent()?))) else {
            return Ok(());
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut aside = tempfile::NamedTempFile::new_in(folder)?;
        aside.write_all(&serde_json::to_vec(&self.known)?)?;
        aside.persist(file)?;
        Ok(())
    }
}

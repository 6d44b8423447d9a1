//! Private readers of outside bytes, opened for the crate that fuzzes them (`fuzz/`). No logic of its own.

use std::path::{Path, PathBuf};

use super::evaluate::{Evaluator, Unknown};
use super::ignored::{Rules, Strictness};
use super::scan::{Scan, scan};
use super::sources::Sources;

/// True when a name matches the pattern of one name.
pub fn matches(pattern: &str, name: &str) -> bool {
    super::pattern::matches(pattern, name)
}

/// Whether something stands against sending what lies at a path of the project at `root`.
pub fn is_kept_back(root: &Path, path: &Path, is_folder: bool) -> bool {
    let mut rules = Rules::of_project(root, None, Vec::new());
    rules.obstacle(path, is_folder, root, Strictness::All).is_some()
}

/// What a source says, as it is remembered; and the texts that its mentions may be.
pub fn scanned(source: &[u8]) -> (Vec<u8>, Vec<String>) {
    let file = PathBuf::from("/project/script.py");
    let found = scan(source);
    let remembered = serde_json::to_vec(&found).unwrap_or_default();
    // As `sources` does: what cannot be read back is scanned again.
    if let Ok(back) = serde_json::from_slice::<Scan>(&remembered) {
        assert_eq!(back, found, "a scan reads back as it was");
    }
    let mentions: Vec<_> = found.mentions.iter().map(|mention| mention.expr.clone()).collect();
    let sources = Sources::of_one(file.clone(), found);
    let evaluator = |unknown| Evaluator { sources: &sources, cwd: "/work", home: Some("/home/a"), unknown };
    let (open, star) = (evaluator(Unknown::Open), evaluator(Unknown::Star));
    let both = mentions.iter().flat_map(|expr| [open.values(&file, expr), star.values(&file, expr)]);
    (remembered, both.flatten().map(|value| value.text).collect())
}

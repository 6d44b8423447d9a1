//! Every kept input goes through its target; what a fuzzer found once stays found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rgrid_fuzz::TARGETS;

/// All kept inputs together.
const CORPUS_BYTES_MAX: u64 = 1 << 20;

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let stem = |path: PathBuf| Some(path.file_stem()?.to_string_lossy().into_owned());
    entries.flatten().filter_map(|entry| stem(entry.path())).collect()
}

#[test]
fn every_target_has_inputs_and_holds_for_each_of_them() {
    let mut tried = 0u64;
    for (name, target) in TARGETS {
        let corpus = folder().join("corpus").join(name);
        let inputs: Vec<PathBuf> =
            std::fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty(), "{} holds no input", corpus.display());
        for input in inputs {
            let bytes = std::fs::read(&input).unwrap();
            tried += bytes.len() as u64;
            let result = std::panic::catch_unwind(|| target(&bytes));
            assert!(result.is_ok(), "{name} does not hold for {}", input.display());
        }
    }
    assert!(tried <= CORPUS_BYTES_MAX, "{tried} bytes: minimise it (`cargo xtask soak --fuzz` does)");
}

#[test]
fn targets_their_harnesses_and_their_corpora_are_the_same_list() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&folder().join("fuzz_targets")), targets);
    assert_eq!(names(&folder().join("corpus")), targets);
}

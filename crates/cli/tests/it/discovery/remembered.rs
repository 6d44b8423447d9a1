//! Hashes and scans that are remembered from run to run.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rgrid_cli::discovery::discover;
use rgrid_cli::discovery::hashes::{Remembered, Stamp, hash_file};
use rgrid_core::submission::InputKind;

use super::Tree;

const SCRIPT: &str = "import part\nopen('x.csv')";

fn tree() -> Tree {
    let tree = Tree::new(&[("p/s.py", SCRIPT), ("p/part.py", ""), ("p/x.csv", "one"), ("cache/", "")]);
    for file in ["p/s.py", "p/part.py", "p/x.csv"] {
        age(&tree.path(file));
    }
    tree
}

/// Makes a file old enough to be trusted.
fn age(file: &Path) {
    let file = fs::File::options().append(true).open(file).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

fn cache_file(tree: &Tree) -> std::path::PathBuf {
    let files: Vec<_> =
        fs::read_dir(tree.path("cache/discovery")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    files[0].clone()
}

fn manifest(tree: &Tree) -> Vec<(String, String)> {
    let mut request = tree.request("s.py");
    request.cache_folder = Some(tree.path("cache"));
    let found = discover(&request).unwrap().inputs;
    let hash = |kind: &InputKind| match kind {
        InputKind::File { sha256, .. } => sha256.to_string(),
        InputKind::Folder | InputKind::Symlink { .. } => String::new(),
    };
    found.iter().map(|found| (found.input.path.name().to_owned(), hash(&found.input.kind))).collect()
}

#[test]
fn a_second_run_writes_nothing_and_finds_the_same() {
    let tree = tree();
    let first = manifest(&tree);
    let written = fs::metadata(cache_file(&tree)).unwrap();
    assert_eq!(manifest(&tree), first);
    let still = fs::metadata(cache_file(&tree)).unwrap();
    assert_eq!(Stamp::of(&still), Stamp::of(&written));
}

#[test]
fn a_changed_file_is_hashed_again() {
    let tree = tree();
    let first = manifest(&tree);
    fs::write(tree.path("p/x.csv"), "two").unwrap();
    let second = manifest(&tree);
    assert_ne!(first[2], second[2]);
    assert_eq!(first[..2], second[..2]);
}

#[test]
fn a_damaged_cache_is_as_good_as_none() {
    let tree = tree();
    let first = manifest(&tree);
    let file = cache_file(&tree);
    let sound = fs::read(&file).unwrap();
    for damage in 0..4 {
        let mut bytes = sound.clone();
        match damage {
            0 => bytes.truncate(sound.len() / 2),
            1 => *bytes.last_mut().unwrap() ^= 1,
            2 => bytes[20] ^= 1,
            _ => bytes.clear(),
        }
        fs::write(&file, bytes).unwrap();
        assert_eq!(manifest(&tree), first);
        assert_eq!(fs::read(&file).unwrap().len(), sound.len(), "it is written anew");
    }
}

#[test]
fn a_file_that_changed_just_now_is_not_trusted() {
    let tree = Tree::new(&[("p/x.csv", "one")]);
    let file = tree.path("p/x.csv");
    let (stamp, hash) = hash_file(&file).unwrap();
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    let mut soon = Remembered::load(None, &tree.path("p"), modified + Duration::from_secs(1));
    soon.keep_hash(&file, stamp, hash);
    assert_eq!(soon.hash(&file, &stamp), None);
    let mut later = Remembered::load(None, &tree.path("p"), modified + Duration::from_secs(3));
    later.keep_hash(&file, stamp, hash);
    assert_eq!(later.hash(&file, &stamp), Some(hash));
    let other = Stamp { inode: stamp.inode + 1, ..stamp };
    assert_eq!(later.hash(&file, &other), None);
}

#[test]
fn many_runs_at_once_leave_a_sound_cache() {
    let tree = tree();
    let first = manifest(&tree);
    let file = cache_file(&tree);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let _ = fs::remove_file(&file);
                    assert_eq!(manifest(&tree), first);
                }
            });
        }
    });
    assert_eq!(manifest(&tree), first);
}

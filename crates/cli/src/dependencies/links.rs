//! Folders of this machine in which packages are looked for (`--find-links`): no worker has them. What of them the lock
//! takes travels as files, and lies in the same folder there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::name::normalized;
use super::pin::{Hashes, Origin, Pin, Places, is_local_address, local_path};

/// A larger archive is not hashed: it is taken by its name.
const ARCHIVE_BYTES_MAX: u64 = 4 << 30;

/// The archives that these pins take from folders of this machine. The places keep only folders that have some, by their
/// absolute paths.
pub(super) fn travelling(places: &mut Places, pins: &[Pin], folder: &Path) -> BTreeSet<PathBuf> {
    let mut travels = BTreeSet::new();
    let mut kept = Vec::new();
    for link in std::mem::take(&mut places.links) {
        if !is_local_address(&link) {
            kept.push(link);
            continue;
        }
        let path = local_path(&link, folder);
        let found: Vec<PathBuf> = archives(&path).into_iter().filter(|file| is_taken(file, pins)).collect();
        if !found.is_empty() {
            kept.push(path.to_string_lossy().into_owned());
            travels.extend(found);
        }
    }
    places.links = kept;
    travels
}

fn archives(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file() && named(file).is_some());
    files.sort();
    files
}

/// Name and version of a wheel or a source archive.
fn named(file: &Path) -> Option<(String, String)> {
    let name = file.file_name()?.to_str()?;
    if let Some(wheel) = name.strip_suffix(".whl") {
        let mut parts = wheel.split('-');
        return Some((normalized(parts.next()?), parts.next()?.to_owned()));
    }
    let source = name.strip_suffix(".tar.gz").or_else(|| name.strip_suffix(".zip"))?;
    let (name, version) = source.rsplit_once('-')?;
    Some((normalized(name), version.to_owned()))
}

fn is_taken(file: &Path, pins: &[Pin]) -> bool {
    let Some((name, version)) = named(file) else { return false };
    // In names of files a local version is written with other dividers.
    let plain = |version: &str| version.replace(['_', '-', '+'], ".").to_lowercase();
    pins.iter().any(|pin| match &pin.origin {
        Origin::Index { version: wanted, hashes } => {
            pin.name == name && plain(wanted) == plain(&version) && has_one_of(file, hashes)
        }
        Origin::Url { .. } | Origin::Local { .. } => false,
    })
}

/// A lock without hashes takes whatever has the name.
fn has_one_of(file: &Path, hashes: &Hashes) -> bool {
    let known: Vec<&str> = hashes.iter().filter_map(|hash| hash.strip_prefix("sha256:")).collect();
    if known.is_empty() {
        return true;
    }
    let Ok(mut open) = fs::File::open(file) else { return false };
    if open.metadata().is_ok_and(|found| found.len() > ARCHIVE_BYTES_MAX) {
        return true;
    }
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match std::io::Read::read(&mut open, &mut buffer) {
            Ok(0) => break,
            Ok(read) => hash.update(&buffer[..read]),
            Err(_) => return false,
        }
    }
    let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    known.contains(&hex.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_archives_that_the_lock_takes_travel_and_their_folders_stay_by_their_paths() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        for (name, content) in [
            ("wheels/my_tool-1.0+acme.2-py3-none-any.whl", "right"),
            ("wheels/my_tool-0.9-py3-none-any.whl", "older"),
            ("wheels/other-1.0.tar.gz", "of another name"),
            ("wheels/six-1.16.0-py2.py3-none-any.whl", "tampered with"),
            ("empty/readme.txt", ""),
        ] {
            let file = top.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let hash = |text: &str| {
            let hex: String = sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
            Hashes::from([format!("sha256:{hex}")])
        };
        let pins = [
            Pin::version("my-tool", "1.0+acme.2", hash("right"), None),
            Pin::version("six", "1.16.0", hash("as the index has it"), None),
        ];
        let links = ["./wheels", "empty", "https://h/links", "/gone"].map(str::to_owned).to_vec();
        let mut places = Places { links, ..Places::default() };
        let travels = travelling(&mut places, &pins, &top);
        let wheels = top.join("wheels");
        assert_eq!(travels, BTreeSet::from([wheels.join("my_tool-1.0+acme.2-py3-none-any.whl")]));
        assert_eq!(places.links, [wheels.to_str().unwrap(), "https://h/links"]);
    }
}

//! What is installed in a Python environment, read from its folders without starting it: distributions, their modules,
//! and those that lie elsewhere on this machine. Remembered until the environment changes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::name::normalized;
use crate::discovery::interpreter::Interpreter;
use crate::upload::modified_ns;

/// A file of a distribution is read up to here.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// A remembered environment is no longer than this.
const REMEMBERED_BYTES_MAX: u64 = 32 << 20;

/// An environment's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Installed {
    pub distributions: Vec<Distribution>,
    /// Folders elsewhere that `.pth` files put on the module path.
    pub paths: Vec<PathBuf>,
}

/// One distribution.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Distribution {
    /// Normalised.
    pub name: String,
    pub version: String,
    /// Names that one can import.
    pub modules: BTreeSet<String>,
    /// What it needs, as its metadata has it.
    pub requires: Vec<String>,
    /// Where it was installed from, when not from an index.
    pub origin: Option<DirectOrigin>,
}

/// Where a distribution was installed from (PEP 610).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum DirectOrigin {
    /// A folder or an archive of this machine.
    Local { path: PathBuf, editable: bool },
    /// An address, as a requirement has it.
    Url(String),
}

/// The folders in which an interpreter looks for distributions.
pub(super) fn folders(interpreter: &Interpreter) -> Vec<PathBuf> {
    let below = |prefix: &Path, library: &str, folder: &str| {
        prefix.join(library).join(format!("python3.{}", interpreter.minor)).join(folder)
    };
    let (own, base) = (&interpreter.prefix, &interpreter.base_prefix);
    let mut folders = vec![below(own, "lib", "site-packages"), below(own, "lib64", "site-packages")];
    let sees_base = own == base
        || fs::read_to_string(own.join("pyvenv.cfg")).is_ok_and(|text| {
            let text = text.to_lowercase().replace(' ', "");
            text.lines().any(|line| line == "include-system-site-packages=true")
        });
    if sees_base {
        let home = std::env::home_dir();
        folders.extend(home.map(|home| below(&home.join(".local"), "lib", "site-packages")));
        folders.push(below(base, "lib", "site-packages"));
        if base == Path::new("/usr") {
            folders.push(below(Path::new("/usr/local"), "lib", "dist-packages"));
            folders.push("/usr/lib/python3/dist-packages".into());
        }
    }
    let mut seen = BTreeSet::new();
    folders.retain(|folder| folder.canonicalize().is_ok_and(|real| real.is_dir() && seen.insert(real)));
    folders
}

/// The state of the folders: another one means that something was installed or removed.
pub(super) fn state(folders: &[PathBuf]) -> Vec<(PathBuf, i64)> {
    let changed = |folder: &PathBuf| fs::metadata(folder).map_or(0, |found| modified_ns(&found));
    folders.iter().map(|folder| (folder.clone(), changed(folder))).collect()
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    state: Vec<(PathBuf, i64)>,
    installed: Installed,
}

/// What is installed in these folders, as remembered in `cache_folder` if nothing changed since.
pub(super) fn look(folders: &[PathBuf], cache_folder: Option<&Path>) -> Installed {
    let state = state(folders);
    let mut hash = sha2::Sha256::new();
    folders.iter().for_each(|folder| hash.update([folder.as_os_str().as_bytes(), b"\0"].concat()));
    let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let file = cache_folder.map(|folder| folder.join("environments").join(format!("{name}.json")));
    let known = file.as_deref().and_then(|file| super::read_file(file, REMEMBERED_BYTES_MAX).ok());
    if let Some(known) = known.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok())
        && known.state == state
    {
        return known.installed;
    }
    let mut installed = Installed::default();
    // The first folder on the path has a distribution, whatever the later ones have.
    let mut seen = BTreeSet::new();
    for folder in folders {
        let found = scan(folder);
        installed.paths.extend(found.paths);
        installed
            .distributions
            .extend(found.distributions.into_iter().filter(|found| seen.insert(found.name.clone())));
    }
    let remembered = Remembered { state, installed };
    // A cache that cannot be written costs time and nothing else.
    let _ = file.map(|file| write(&file, &remembered));
    remembered.installed
}

fn write(file: &Path, remembered: &Remembered) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut aside = tempfile::NamedTempFile::new_in(folder)?;
    aside.write_all(&serde_json::to_vec(remembered)?)?;
    aside.persist(file)?;
    Ok(())
}

fn scan(folder: &Path) -> Installed {
    let mut installed = Installed::default();
    let mut names: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    names.sort();
    for path in names {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(stem) = name.strip_suffix(".dist-info") {
            installed.distributions.extend(distribution(stem, &path));
        } else if let Some(stem) = name.strip_suffix(".egg-info") {
            installed.distributions.extend(egg(stem, &path));
        } else if let Some(stem) = name.strip_suffix(".egg-link") {
            let origin = text(&path).and_then(|text| Some(text.lines().next()?.trim().to_owned()));
            let origin = origin.map(|path| DirectOrigin::Local { path: path.into(), editable: true });
            let distribution =
                Distribution { name: normalized(stem), version: "0".to_owned(), ..Distribution::default() };
            installed.distributions.push(Distribution { origin, ..distribution });
        } else if name.ends_with(".pth") {
            let lines = text(&path).unwrap_or_default();
            let folders =
                lines.lines().map(str::trim).filter(|line| line.starts_with('/')).map(PathBuf::from);
            installed
                .paths
                .extend(folders.filter(|elsewhere| !elsewhere.starts_with(folder) && elsewhere.is_dir()));
        }
    }
    installed
}

fn distribution(stem: &str, path: &Path) -> Option<Distribution> {
    let metadata = text(&path.join("METADATA")).unwrap_or_default();
    let (name, version, requires) = headers(&metadata);
    let (stem_name, stem_version) = stem.split_once('-')?;
    let mut modules = listed_modules(path);
    if let Some(record) = text(&path.join("RECORD")) {
        modules.extend(record.lines().filter_map(module));
    }
    Some(Distribution {
        name: normalized(name.as_deref().unwrap_or(stem_name)),
        version: version.unwrap_or_else(|| stem_version.to_owned()),
        modules,
        requires,
        origin: text(&path.join("direct_url.json")).as_deref().and_then(origin),
    })
}

/// A distribution of the older kind: a folder, or a file of metadata.
fn egg(stem: &str, path: &Path) -> Option<Distribution> {
    let metadata = if path.is_dir() { path.join("PKG-INFO") } else { path.to_owned() };
    let (name, version, requires) = headers(&text(&metadata)?);
    let (stem_name, rest) = stem.split_once('-').unwrap_or((stem, "0"));
    let mut modules = listed_modules(path);
    if modules.is_empty() {
        modules.insert(stem_name.to_owned());
    }
    Some(Distribution {
        name: normalized(name.as_deref().unwrap_or(stem_name)),
        version: version.unwrap_or_else(|| rest.split("-py").next().unwrap_or(rest).to_owned()),
        modules,
        requires,
        origin: None,
    })
}

fn listed_modules(path: &Path) -> BTreeSet<String> {
    let text = text(&path.join("top_level.txt")).unwrap_or_default();
    let first = |line: &str| line.trim().split('/').next().unwrap_or_default().to_owned();
    text.lines().map(first).filter(|name| !name.is_empty()).collect()
}

/// Name, version and what it needs, from the head of a metadata file.
fn headers(metadata: &str) -> (Option<String>, Option<String>, Vec<String>) {
    let (mut name, mut version, mut requires) = (None, None, Vec::new());
    for line in metadata.lines().take_while(|line| !line.is_empty()) {
        match line.split_once(": ") {
            Some(("Name", value)) => name = Some(value.trim().to_owned()),
            Some(("Version", value)) => version = Some(value.trim().to_owned()),
            Some(("Requires-Dist", value)) => requires.push(value.trim().to_owned()),
            Some(_) | None => {}
        }
    }
    (name, version, requires)
}

/// The module that a line of a RECORD belongs to.
fn module(line: &str) -> Option<String> {
    let path = line.split(',').next()?.trim_matches('"');
    let is_source = |name: &str| name.ends_with(".py") || name.ends_with(".so") || name.ends_with(".pyd");
    let name = match path.split_once('/') {
        Some((folder, rest)) if is_source(rest) => folder,
        Some(_) => return None,
        None if is_source(path) => path.split('.').next()?,
        None => return None,
    };
    let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.starts_with("__");
    (is_name && !name.is_empty()).then(|| name.to_owned())
}

#[derive(Deserialize)]
struct DirectUrl {
    url: String,
    #[serde(default)]
    dir_info: Option<DirectoryInformation>,
    vcs_info: Option<RepositoryInformation>,
}

#[derive(Default, Deserialize)]
struct DirectoryInformation {
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
struct RepositoryInformation {
    vcs: String,
    commit_id: String,
}

fn origin(text: &str) -> Option<DirectOrigin> {
    let found: DirectUrl = serde_json::from_str(text).ok()?;
    if found.url.starts_with("file:") {
        let path = super::pin::local_path(&found.url, Path::new("/"));
        let editable = found.dir_info.unwrap_or_default().editable;
        return Some(DirectOrigin::Local { path, editable });
    }
    Some(DirectOrigin::Url(match found.vcs_info {
        Some(RepositoryInformation { vcs, commit_id }) => format!("{vcs}+{}@{commit_id}", found.url),
        None => found.url,
    }))
}

fn text(path: &Path) -> Option<String> {
    super::read_file(path, FILE_BYTES_MAX).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().canonicalize().unwrap().join("site-packages");
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        (top, folder)
    }

    fn listing(installed: &Installed) -> String {
        let line = |found: &Distribution| {
            let modules = found.modules.iter().cloned().collect::<Vec<_>>().join(" ");
            let origin = found.origin.as_ref().map(|origin| format!(" from {origin:?}")).unwrap_or_default();
            format!("{} {}: {modules}{origin}", found.name, found.version)
        };
        let paths = installed.paths.iter().map(|path| format!("path {}", path.display()));
        installed.distributions.iter().map(line).chain(paths).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn distributions_are_read_from_their_metadata() {
        let (_top, folder) = environment(&[
            (
                "PyYAML-6.0.dist-info/METADATA",
                "Name: PyYAML\nVersion: 6.0.1\nRequires-Dist: x ; extra == 'y'\n\nbody: no\n",
            ),
            ("PyYAML-6.0.dist-info/top_level.txt", "_yaml\nyaml\n"),
            ("six-1.16.dist-info/METADATA", "Name: six\nVersion: 1.16\n"),
            (
                "six-1.16.dist-info/RECORD",
                "six.py,sha256=x,1\nsix-1.16.dist-info/METADATA,,\n../../bin/six,,\n__pycache__/six.pyc,,\n",
            ),
            ("mylib-1.dist-info/METADATA", "Name: mylib\nVersion: 1\n"),
            (
                "mylib-1.dist-info/direct_url.json",
                r#"{"url": "file:///home/me/my%20lib", "dir_info": {"editable": true}}"#,
            ),
            ("z-2.dist-info/METADATA", "Name: z\nVersion: 2\n"),
            (
                "z-2.dist-info/direct_url.json",
                r#"{"url": "https://h/z", "vcs_info": {"vcs": "git", "commit_id": "01"}}"#,
            ),
            ("old-3-py3.11.egg-info", "Name: old\nVersion: 3\n"),
            ("elsewhere.pth", "import os\n/tmp\n/gone-for-ever\n"),
        ]);
        insta::assert_snapshot!(listing(&look(std::slice::from_ref(&folder), None)), @r#"
        pyyaml 6.0.1: _yaml yaml
        mylib 1:  from Local { path: "/home/me/my lib", editable: true }
        old 3: old
        six 1.16: six
        z 2:  from Url("git+https://h/z@01")
        path /tmp
        "#);
    }

    #[test]
    fn an_environment_is_read_again_only_when_it_changed() {
        let (top, folder) = environment(&[("a-1.dist-info/METADATA", "Name: a\nVersion: 1\n")]);
        let (cache, folders) = (top.path().join("cache"), [folder.clone()]);
        let names =
            || look(&folders, Some(&cache)).distributions.into_iter().map(|d| d.name).collect::<Vec<_>>();
        assert_eq!(names(), ["a"]);
        // A change inside of a distribution's folder is none of the environment's.
        fs::write(folder.join("a-1.dist-info/METADATA"), "Name: changed\nVersion: 1\n").unwrap();
        assert_eq!(names(), ["a"]);
        let before = fs::metadata(&folder).unwrap().modified().unwrap();
        fs::create_dir(folder.join("b-2.dist-info")).unwrap();
        let later = before + std::time::Duration::from_secs(5);
        fs::File::open(&folder).unwrap().set_modified(later).unwrap();
        assert_eq!(names(), ["changed", "b"]);
    }
}

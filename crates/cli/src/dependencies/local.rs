//! Packages that lie on this machine as source: which of their files travel, and which of them decide a lock.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::Digest as _;

/// Folders in folders that are looked at for Python's files.
const DEPTH_MAX: usize = 3;
/// Folders in folders in which modules of a package are looked for.
const CODE_DEPTH_MAX: usize = 16;
/// A file beside the code is sent up to here: it says what the package is, and is no data.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Folders of a project that hold nothing it needs to be installed.
const NOT_CODE: [&str; 16] = [
    "test",
    "tests",
    "testing",
    "doc",
    "docs",
    "example",
    "examples",
    "benchmark",
    "benchmarks",
    "build",
    "dist",
    "notebooks",
    "data",
    "site",
    "node_modules",
    "venv",
];
/// What decides which packages a local one needs.
const METADATA: [&str; 4] = ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt"];

/// What travels of a local package so that it can be installed: the file, if it is one; of a folder its own files and
/// the folders with code in them.
pub(super) fn travelling(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let is_hidden = |path: &Path| path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let mut found: Vec<PathBuf> = entries(path)
        .into_iter()
        .filter(|entry| !is_hidden(entry))
        .filter(|entry| match entry.is_dir() {
            true => is_code(entry),
            false => entry.metadata().is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX),
        })
        .collect();
    // What git ignores of the code is no less imported: modules that were compiled in place, a version that was generated.
    let code: Vec<PathBuf> = found.iter().filter(|entry| entry.is_dir()).cloned().collect();
    code.iter().for_each(|folder| code_files(folder, CODE_DEPTH_MAX, &mut found));
    found.sort();
    found
}

/// Every file below a folder of code that Python imports, by its own name: it is sent although git ignores it.
fn code_files(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if depth == 0 || folder.join("pyvenv.cfg").exists() {
        return;
    }
    for entry in entries(folder) {
        if entry.is_symlink() {
        } else if entry.is_dir() {
            code_files(&entry, depth - 1, found);
        } else if is_imported(&entry) {
            found.push(entry);
        }
    }
}

/// True of a file that Python imports as a module.
pub(crate) fn is_imported(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "py" || extension == "so")
}

fn is_code(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name == "src"
        // A package may be called `data` or `tests`.
        || (folder.join("__init__.py").is_file() && name != "build")
        || (!NOT_CODE.contains(&name.as_str())
            && !name.ends_with(".egg-info")
            && has_python(folder, DEPTH_MAX))
}

fn has_python(folder: &Path, depth: usize) -> bool {
    if depth == 0 || folder.join("pyvenv.cfg").exists() {
        return false;
    }
    let entries = entries(folder);
    entries.iter().any(|entry| entry.extension().is_some_and(|extension| extension == "py"))
        || entries.iter().any(|entry| entry.is_dir() && has_python(entry, depth - 1))
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The package or the file that an import of `module` finds in a folder.
pub(super) fn modules(folder: &Path, module: &str) -> Vec<PathBuf> {
    let (package, file) = (folder.join(module), folder.join(format!("{module}.py")));
    if package.join("__init__.py").is_file() {
        return vec![package];
    }
    let compiled = || {
        let is_its = |entry: &PathBuf| {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".so") && name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
        };
        entries(folder).into_iter().filter(is_its).collect::<Vec<_>>()
    };
    if file.is_file() {
        return vec![file];
    }
    let compiled = compiled();
    if compiled.is_empty() && package.is_dir() && has_python(&package, DEPTH_MAX) {
        vec![package]
    } else {
        compiled
    }
}

/// The project that a loose module belongs to, if one can be installed.
pub(super) fn project_of(module: &Path) -> Option<PathBuf> {
    let is_project =
        |folder: &&Path| folder.join("pyproject.toml").is_file() || folder.join("setup.py").is_file();
    module.ancestors().skip(1).take(DEPTH_MAX).find(is_project).map(Path::to_owned)
}

/// The name that a package gives itself.
pub(super) fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_string_lossy();
    if file.ends_with(".whl") || file.ends_with(".tar.gz") {
        return Some(super::name::normalized(file.split('-').next()?));
    }
    let text = crate::pins::read(&path.join("pyproject.toml"))?;
    let table: toml::Table = text.parse().ok()?;
    let poetry = || table.get("tool")?.get("poetry")?.get("name");
    let name = table.get("project").and_then(|project| project.get("name")).or_else(poetry)?;
    Some(super::name::normalized(name.as_str()?))
}

/// The state of the files that decide what a local package needs.
pub(super) fn state(path: &Path) -> String {
    let mut hash = sha2::Sha256::new();
    let files = METADATA.iter().map(|name| path.join(name)).chain([path.to_owned()]);
    for file in files {
        match super::read_file(&file, u64::MAX) {
            Ok(bytes) => hash.update([&[1], bytes.as_slice()].concat()),
            Err(_) => hash.update([0]),
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_what_describes_it_travels() {
        let top = tempfile::tempdir().unwrap();
        for file in [
            "pyproject.toml",
            "README.md",
            "src/x/__init__.py",
            "src/x/data.bin",
            "src/x/fast.so",
            "tests/t.py",
            "testing/__init__.py",
            "data/a.csv",
            ".git/config",
            ".venv/pyvenv.cfg",
            "flat/__init__.py",
            "flat/deep/a.txt",
            "space/name/m.py",
            "images/a.png",
            "venv2/pyvenv.cfg",
            "venv2/lib/x.py",
        ] {
            let file = top.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let names: Vec<_> = travelling(top.path())
            .into_iter()
            .map(|path| path.strip_prefix(top.path()).unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "README.md",
                "flat",
                "flat/__init__.py",
                "pyproject.toml",
                "space",
                "space/name/m.py",
                "src",
                "src/x/__init__.py",
                "src/x/fast.so",
                "testing",
                "testing/__init__.py"
            ]
        );
    }

    #[test]
    fn a_package_says_its_name() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("pyproject.toml"), "[project]\nname = 'My.Lib'\n").unwrap();
        assert_eq!(name_of(top.path()).as_deref(), Some("my-lib"));
        assert_eq!(name_of(Path::new("/w/my_lib-1.0-py3-none-any.whl")).as_deref(), Some("my-lib"));
        assert_eq!(name_of(Path::new("/gone")), None);
    }
}

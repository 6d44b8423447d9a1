//! Which Python a script or its project asks for (DESIGN section 11): the block of PEP 723 in the script, a
//! `.python-version` from the script up to the project's root, `requires-python` of the project.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rgrid_core::requires_python::RequiresPython;
use rgrid_core::runtime::{PYTHON_MINOR, Python};
use serde::Deserialize;

use crate::errors::Error;

/// No more of a file is read: what we look for stands at its beginning.
const READ_BYTES_MAX: u64 = 1 << 20;
/// The first line of the block in a script, and the last.
const BLOCK_START: &str = "# /// script";
const BLOCK_END: &str = "# ///";

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The script, if it is a file.
    pub script: Option<&'a Path>,
    /// Its folder, or the working directory for `-m`.
    pub folder: &'a Path,
    /// The project's root.
    pub root: &'a Path,
}

/// The Python that is asked for; `None` when nothing asks. `own` is the one that the person has.
pub(crate) fn runtime(place: Place<'_>, own: Option<Python>) -> Result<Option<Python>, Error> {
    if let Some(script) = place.script
        && let Some(block) = read(script).as_deref().and_then(block)
        && let Some(required) = parsed::<Block>(&block, script)?.requires_python
    {
        return choose(&required, script, own).map(Some);
    }
    let up_to_root = || place.folder.ancestors().take_while(|folder| folder.starts_with(place.root));
    let pinned = up_to_root().find_map(|folder| version(&read(&folder.join(".python-version"))?));
    if pinned.is_some() {
        return Ok(pinned);
    }
    let project = up_to_root().map(|folder| folder.join("pyproject.toml")).find(|file| file.is_file());
    if let Some(file) = project
        // The common case costs no parse.
        && let Some(text) = read(&file).filter(|text| text.contains("requires-python"))
        && let Some(required) = parsed::<PyProject>(&text, &file)?.project.requires_python
    {
        return choose(&required, &file, own).map(Some);
    }
    Ok(None)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Block {
    requires_python: Option<String>,
}

#[derive(Deserialize)]
struct PyProject {
    #[serde(default)]
    project: Project,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Project {
    requires_python: Option<String>,
}

fn wrong(path: &Path, problem: String) -> Error {
    Error::Project { path: PathBuf::from(path), problem }
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| wrong(path, error.message().to_owned()))
}

fn choose(required: &str, path: &Path, own: Option<Python>) -> Result<Python, Error> {
    let required: RequiresPython =
        required.parse().map_err(|error: rgrid_core::requires_python::NotARequirement| {
            wrong(path, format!("requires-python: {error}"))
        })?;
    required.choose(own).ok_or_else(|| {
        let (oldest, newest) = (PYTHON_MINOR.start(), PYTHON_MINOR.end());
        wrong(path, format!("it requires Python {required}, and RGrid runs 3.{oldest} to 3.{newest}"))
    })
}

/// What can be read of a file as text; a script in another encoding has its block in ASCII in any case.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The TOML in the `script` block of a script (PEP 723).
pub(crate) fn block(script: &str) -> Option<String> {
    let mut lines = script.lines().skip_while(|line| line.trim_end() != BLOCK_START).skip(1);
    let comment = |line: &&str| *line == "#" || line.starts_with("# ");
    let block: Vec<&str> = lines.by_ref().map(str::trim_end).take_while(comment).collect();
    // The last line that could end it does.
    let end = block.iter().rposition(|line| *line == BLOCK_END)?;
    Some(block[..end].iter().map(|line| format!("{}\n", line.get(2..).unwrap_or_default())).collect())
}

/// The version that a `.python-version` names. It may name an environment of pyenv instead, which is not for us.
pub(crate) fn version(text: &str) -> Option<Python> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let number = line.trim_start_matches("cpython-").trim_start_matches("python");
    let minor = number.trim_start_matches([':', '-']).strip_prefix("3.")?.split(['.', '-', '+']).next()?;
    minor.parse().ok().and_then(Python::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_read_as_pep_723_has_it() {
        let script = "#!/usr/bin/env python3\n# /// script\n# requires-python = \">=3.12\"\n#\n# dependencies = []\n# ///\nprint()\n";
        assert_eq!(block(script).as_deref(), Some("requires-python = \">=3.12\"\n\ndependencies = []\n"));
        assert_eq!(block("# /// script\n# a = 1\nprint()\n# ///\n"), None);
        assert_eq!(block("# /// other\n# a = 1\n# ///\n"), None);
    }

    #[test]
    fn a_pinned_version_is_read_in_every_spelling() {
        for text in ["3.12\n", "# ours\n3.12.4\n", "cpython-3.12.4-linux", "python3.12"] {
            assert_eq!(version(text), Python::new(12), "{text}");
        }
        assert_eq!([version("myenv"), version("system\n"), version(""), version("3.9")], [None; 4]);
    }

    #[test]
    fn the_script_goes_before_the_pin_and_the_pin_before_the_project() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        let folder = root.join("jobs");
        std::fs::create_dir(&folder).unwrap();
        let script = folder.join("s.py");
        std::fs::write(&script, "print()\n").unwrap();
        let place = Place { script: Some(&script), folder: &folder, root };
        let found = |own| runtime(place, Python::new(own)).map_err(|error| error.message().what);
        assert_eq!(found(11), Ok(None));
        std::fs::write(
            root.join("pyproject.toml"),
            "[project]\nname = 'x'\nrequires-python = '>=3.12,<3.14'\n",
        )
        .unwrap();
        assert_eq!((found(11), found(12)), (Ok(Python::new(13)), Ok(Python::new(12))));
        std::fs::write(root.join(".python-version"), "3.14\n").unwrap();
        assert_eq!(found(12), Ok(Python::new(14)));
        std::fs::write(&script, "# /// script\n# requires-python = '<3.12'\n# ///\n").unwrap();
        assert_eq!((found(10), found(14)), (Ok(Python::new(10)), Ok(Python::new(11))));
        std::fs::write(&script, "# /// script\n# requires-python = '>=3.20'\n# ///\n").unwrap();
        let refused = found(12).unwrap_err();
        assert!(
            refused.ends_with("s.py: it requires Python >=3.20, and RGrid runs 3.10 to 3.14"),
            "{refused}"
        );
    }
}

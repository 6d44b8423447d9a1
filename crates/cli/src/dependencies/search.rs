//! Finds who declares the packages of a script (DESIGN section 6), the first one that does, and brings it into the form
//! that can be locked. Reads files and starts nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::DependencyError;
use super::marker::Platform;
use super::pin::{Pin, Places};
use super::{conda, pipfile, poetry, pylock, read_text, requirements, torch};
use crate::pins;

/// How a lock comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// The resolver chooses versions.
    Resolve(Resolve),
    /// uv has a lock of its own of the project in this folder.
    ExportProject { folder: PathBuf },
    /// uv makes one for this script, which has settings for it.
    ExportScript { script: PathBuf },
    /// A lock of another tool has all versions.
    Locked {
        pins: Vec<Pin>,
        places: Places,
        /// What of it would be there without torch; empty where there is none.
        left: BTreeSet<String>,
    },
}

/// What the resolver is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Resolve {
    /// Requirements, a line each.
    pub wanted: Vec<String>,
    pub constraints: Vec<String>,
    /// Lines of options.
    pub options: Vec<String>,
    /// A `pyproject.toml` whose dependencies are wanted, with its own settings.
    pub project: Option<PathBuf>,
    /// The folder whose settings count.
    pub folder: PathBuf,
    /// The versions are those of an environment: one that the index lacks gives way to the nearest.
    pub yields: bool,
}

/// Who declares packages, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    /// For people: `requirements.txt`, `the PEP 723 block of x.py`.
    pub source: String,
    pub way: Way,
    /// All that the lock depends on besides what `way` has, for its key.
    pub key: Vec<String>,
    /// Sentences for the person.
    pub warnings: Vec<String>,
}

/// Files that declare a project's packages, the first that is there counts.
const PROJECT_FILES: [&str; 7] = [
    "uv.lock",
    "pylock.toml",
    "poetry.lock",
    "Pipfile.lock",
    "pyproject.toml",
    "environment.yml",
    "environment.yaml",
];

/// What `--requirements` names, else what the script itself says: this counts whatever it imports.
pub(super) fn said_outright(
    place: pins::Place<'_>,
    requirements: &[PathBuf],
    platform: &Platform,
) -> Result<Option<Declared>, DependencyError> {
    if let Some(first) = requirements.first() {
        let name = first.file_name().unwrap_or_default().to_string_lossy();
        if requirements.len() == 1
            && (PROJECT_FILES.contains(&&*name) || name.starts_with("pylock."))
            && let Some(declared) = project_file(first, place, platform)?
        {
            return Ok(Some(declared));
        }
        let mut all = requirements::Requirements::default();
        for file in requirements {
            let more = requirements::read(file)?;
            all.wanted.extend(more.wanted);
            all.constraints.extend(more.constraints);
            all.options.extend(more.options);
        }
        return Ok(Some(listed(all, first, place)));
    }
    match place.script {
        Some(script) => of_script(script),
        None => Ok(None),
    }
}

/// What the project around the script declares.
pub(super) fn of_project(
    place: pins::Place<'_>,
    platform: &Platform,
) -> Result<Option<Declared>, DependencyError> {
    let up_to_root = || place.folder.ancestors().take_while(|folder| folder.starts_with(place.root));
    for folder in up_to_root() {
        for file in PROJECT_FILES.map(|name| folder.join(name)) {
            if file.is_file()
                && let Some(declared) = project_file(&file, place, platform)?
            {
                return Ok(Some(declared));
            }
        }
        // A member of a workspace has its lock where the workspace has it.
        if folder == place.root && folder.join("pyproject.toml").is_file() && workspace_lock(folder).is_some()
        {
            return export(folder, &folder.join("uv.lock"), place).map(Some);
        }
    }
    match up_to_root().map(|folder| folder.join("requirements.txt")).find(|file| file.is_file()) {
        Some(file) => {
            let found = listed(requirements::read(&file)?, &file, place);
            Ok(Some(found).filter(|found| !is_empty(&found.way)))
        }
        None => Ok(None),
    }
}

fn is_empty(way: &Way) -> bool {
    match way {
        Way::Resolve(resolve) => resolve.wanted.is_empty() && resolve.project.is_none(),
        Way::Locked { pins, .. } => pins.is_empty(),
        Way::ExportProject { .. } | Way::ExportScript { .. } => false,
    }
}

fn listed(found: requirements::Requirements, file: &Path, place: pins::Place<'_>) -> Declared {
    let resolve = Resolve {
        wanted: found.wanted.into_iter().collect(),
        constraints: found.constraints.into_iter().collect(),
        options: found.options,
        project: None,
        folder: file.parent().unwrap_or(place.folder).to_owned(),
        yields: false,
    };
    declared(short(file, place), Way::Resolve(resolve), Vec::new())
}

fn declared(source: String, way: Way, key: Vec<String>) -> Declared {
    Declared { source, way, key, warnings: Vec::new() }
}

/// A path as it is shortest for people.
fn short(file: &Path, place: pins::Place<'_>) -> String {
    file.strip_prefix(place.root).unwrap_or(file).to_string_lossy().into_owned()
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    dependencies: Vec<String>,
    #[serde(default)]
    tool: toml::Table,
}

fn of_script(script: &Path) -> Result<Option<Declared>, DependencyError> {
    let Some(text) = pins::read(script).as_deref().and_then(pins::block) else { return Ok(None) };
    let malformed = |problem: String| DependencyError::Malformed { path: script.to_owned(), problem };
    let block: Block = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    if block.dependencies.is_empty() {
        return Ok(None);
    }
    let name = script.file_name().unwrap_or_default().to_string_lossy();
    let source = format!("the PEP 723 block of {name}");
    let folder = script.parent().unwrap_or(Path::new("/")).to_owned();
    let mut lock = script.as_os_str().to_owned();
    lock.push(".lock");
    let lock = PathBuf::from(lock);
    if block.tool.contains_key("uv") || lock.is_file() {
        let lock = if lock.is_file() { read_text(&lock)? } else { String::new() };
        return Ok(Some(declared(source, Way::ExportScript { script: script.to_owned() }, vec![text, lock])));
    }
    let mut wanted = block.dependencies;
    wanted.sort();
    Ok(Some(declared(source, Way::Resolve(Resolve { wanted, folder, ..Resolve::default() }), Vec::new())))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PyProject {
    #[serde(default)]
    project: Project,
    build_system: Option<toml::Table>,
    #[serde(default)]
    tool: toml::Table,
}

#[derive(Default, Deserialize)]
struct Project {
    #[serde(default)]
    dependencies: Vec<String>,
}

/// Reads a lock without some of its packages. What is wrong with it, in a fragment.
type Reader<'a> = dyn Fn(&BTreeSet<String>) -> Result<(Vec<Pin>, Places), String> + 'a;

/// What one of the project's files declares; nothing when it is there for something else.
fn project_file(
    file: &Path,
    place: pins::Place<'_>,
    platform: &Platform,
) -> Result<Option<Declared>, DependencyError> {
    let folder = file.parent().unwrap_or(place.folder);
    let malformed = |problem: String| DependencyError::Malformed { path: file.to_owned(), problem };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let source = short(file, place);
    let locked = |read: &Reader<'_>| {
        let (pins, places) = read(&BTreeSet::new()).map_err(malformed)?;
        let exchanged = torch::names(&torch::members(&pins, platform));
        let left = match exchanged.is_empty() {
            true => BTreeSet::new(),
            false => torch::names(&read(&exchanged).map_err(malformed)?.0),
        };
        Ok(declared(source.clone(), Way::Locked { pins, places, left }, Vec::new()))
    };
    Ok(match &*name {
        // Without its project it says nothing.
        "uv.lock" if !folder.join("pyproject.toml").is_file() => None,
        "uv.lock" => Some(export(folder, file, place)?),
        "poetry.lock" => {
            let (lock, project) = (read_text(file)?, read_text(&folder.join("pyproject.toml"))?);
            Some(locked(&|without| poetry::read(&lock, &project, folder, platform, without))?)
        }
        "Pipfile.lock" => {
            let lock = read_text(file)?;
            Some(locked(&|without| pipfile::read(&lock, folder, without))?)
        }
        "pyproject.toml" => of_pyproject(file, source, folder)?,
        "environment.yml" | "environment.yaml" => {
            let found = conda::read(&read_text(file)?);
            let mut wanted = found.pip;
            wanted.sort();
            let way = Way::Resolve(Resolve { wanted, folder: folder.to_owned(), ..Resolve::default() });
            let mut declared = declared(source.clone(), way, Vec::new());
            if !found.conda.is_empty() {
                let list = found.conda.join(", ");
                declared
                    .warnings
                    .push(format!("{source} has packages of conda, which do not travel: {list}"));
            }
            // Without any for the index the environment itself says more.
            Some(declared).filter(|declared| !is_empty(&declared.way))
        }
        _ => {
            let lock = read_text(file)?;
            Some(locked(&|without| pylock::read(&lock, folder, without))?)
        }
    })
}

fn of_pyproject(file: &Path, source: String, folder: &Path) -> Result<Option<Declared>, DependencyError> {
    let text = read_text(file)?;
    // The common case costs no parse.
    if !text.contains("dependencies") {
        return Ok(None);
    }
    let malformed = |problem: String| DependencyError::Malformed { path: file.to_owned(), problem };
    let found: PyProject = toml::from_str(&text).map_err(|error| malformed(error.message().to_owned()))?;
    if found.project.dependencies.is_empty() {
        return Ok(None);
    }
    let uv = found.tool.get("uv");
    let is_package = uv.and_then(|uv| uv.get("package")).and_then(toml::Value::as_bool);
    // With `src/` its modules are found only when it is installed; else they are found beside the script.
    let installs_itself = is_package.unwrap_or(found.build_system.is_some()) && folder.join("src").is_dir();
    let (wanted, project) = match installs_itself {
        true => (vec![format!("-e {}", folder.display())], None),
        false => (Vec::new(), Some(file.to_owned())),
    };
    let resolve = Resolve { wanted, project, folder: folder.to_owned(), ..Resolve::default() };
    Ok(Some(declared(source, Way::Resolve(resolve), vec![text])))
}

fn workspace_lock(member: &Path) -> Option<PathBuf> {
    let above = member.ancestors().skip(1).find(|folder| folder.join("uv.lock").is_file())?;
    let text = pins::read(&above.join("pyproject.toml"))?;
    text.contains("[tool.uv.workspace]").then(|| above.join("uv.lock"))
}

fn export(folder: &Path, lock: &Path, place: pins::Place<'_>) -> Result<Declared, DependencyError> {
    let lock = if lock.is_file() {
        lock.to_owned()
    } else {
        workspace_lock(folder).unwrap_or_else(|| lock.to_owned())
    };
    let key = vec![read_text(&lock)?, read_text(&folder.join("pyproject.toml"))?];
    Ok(declared(short(&lock, place), Way::ExportProject { folder: folder.to_owned() }, key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lays out files below `p`, and tells what the script `p/jobs/s.py` gets.
    fn check(files: &[(&str, &str)]) -> String {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let root = top.join("p");
        std::fs::create_dir_all(root.join("jobs")).unwrap();
        std::fs::write(root.join("jobs/s.py"), "import six\n").unwrap();
        for (name, text) in files {
            let file = root.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let (script, folder) = (root.join("jobs/s.py"), root.join("jobs"));
        let place = pins::Place { script: Some(&script), folder: &folder, root: &root };
        let platform = Platform::of_workers(12);
        let found = said_outright(place, &[], &platform).and_then(|found| match found {
            Some(found) => Ok(Some(found)),
            None => of_project(place, &platform),
        });
        let text = match found {
            Ok(None) => "nothing".to_owned(),
            Err(error) => error.to_string(),
            Ok(Some(Declared { source, way, warnings, .. })) => {
                let way = match way {
                    Way::Resolve(resolve) => {
                        let project = resolve.project.map(|_| "its pyproject.toml".to_owned());
                        resolve.wanted.into_iter().chain(project).collect::<Vec<_>>().join(" ")
                    }
                    Way::ExportProject { folder } => format!("export of {}", folder.display()),
                    Way::ExportScript { script } => format!("export of {}", script.display()),
                    Way::Locked { pins, .. } => {
                        pins.iter().map(|pin| pin.name.clone()).collect::<Vec<_>>().join(" ")
                    }
                };
                [vec![format!("{source}: {way}")], warnings].concat().join("\n")
            }
        };
        text.replace(top.to_str().unwrap(), "")
    }

    const BLOCK: &str = "# /// script\n# dependencies = ['six', 'idna']\n# ///\n";
    const PROJECT: &str = "[project]\nname = 'x'\ndependencies = ['click']\n";

    #[test]
    fn the_first_that_declares_packages_counts() {
        let requirements = ("requirements.txt", "colorama\n");
        let project = ("pyproject.toml", PROJECT);
        insta::assert_snapshot!(check(&[]), @"nothing");
        insta::assert_snapshot!(check(&[requirements]), @"requirements.txt: colorama");
        insta::assert_snapshot!(check(&[requirements, ("jobs/requirements.txt", "six")]), @"jobs/requirements.txt: six");
        insta::assert_snapshot!(check(&[("requirements.txt", "# none yet\n")]), @"nothing");
        insta::assert_snapshot!(check(&[requirements, project]), @"pyproject.toml: its pyproject.toml");
        insta::assert_snapshot!(check(&[requirements, ("pyproject.toml", "[tool.black]\n")]), @"requirements.txt: colorama");
        let pipfile = ("Pipfile.lock", r#"{"default": {"pip-one": {"version": "==1"}}}"#);
        insta::assert_snapshot!(check(&[pipfile, project]), @"Pipfile.lock: pip-one");
        let pylock = ("pylock.toml", "[[packages]]\nname = 'one'\nversion = '1'\n");
        insta::assert_snapshot!(check(&[pylock, pipfile, project]), @"pylock.toml: one");
        insta::assert_snapshot!(check(&[("uv.lock", ""), pylock, project]), @"uv.lock: export of /p");
        insta::assert_snapshot!(check(&[("uv.lock", ""), pylock]), @"pylock.toml: one");
        insta::assert_snapshot!(check(&[("jobs/s.py", BLOCK), pylock, project]), @"the PEP 723 block of s.py: idna six");
    }

    #[test]
    fn a_block_with_settings_is_left_to_uv() {
        let block =
            "# /// script\n# dependencies = ['six']\n# [tool.uv]\n# exclude-newer = '2024-01-01'\n# ///\n";
        insta::assert_snapshot!(check(&[("jobs/s.py", block)]), @"the PEP 723 block of s.py: export of /p/jobs/s.py");
        insta::assert_snapshot!(check(&[("jobs/s.py", "# /// script\n# dependencies = 3\n# ///\n")]), @"/p/jobs/s.py: invalid type: integer `3`, expected a sequence");
    }

    #[test]
    fn a_project_with_src_installs_itself() {
        let build = format!("{PROJECT}[build-system]\nrequires = []\n");
        insta::assert_snapshot!(check(&[("pyproject.toml", &build), ("src/x.py", "")]), @"pyproject.toml: -e /p");
        insta::assert_snapshot!(check(&[("pyproject.toml", &build)]), @"pyproject.toml: its pyproject.toml");
        let virtual_one = format!("{build}[tool.uv]\npackage = false\n");
        insta::assert_snapshot!(check(&[("pyproject.toml", &virtual_one), ("src/x.py", "")]), @"pyproject.toml: its pyproject.toml");
    }

    #[test]
    fn packages_of_conda_are_named_and_not_guessed() {
        let file = "dependencies:\n  - gdal\n  - pip:\n    - six\n";
        insta::assert_snapshot!(check(&[("environment.yml", file)]), @r"
        environment.yml: six
        environment.yml has packages of conda, which do not travel: gdal
        ");
        insta::assert_snapshot!(check(&[("environment.yml", "dependencies:\n  - gdal\n")]), @"nothing");
    }
}

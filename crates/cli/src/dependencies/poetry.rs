//! `poetry.lock`: walked from what its project asks for, along the dependencies that the lock has of every package.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use serde::Deserialize;

use super::indexes::PUBLIC;
use super::marker::{self, Platform};
use super::name::{Requirement, normalized};
use super::pin::{Hashes, Origin, Pin, Places};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    /// Where locks of before Poetry 1.3 have their hashes.
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
}

#[derive(Deserialize, Clone)]
struct File {
    hash: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Package {
    name: String,
    version: String,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    develop: bool,
    /// A text, or one for each group.
    markers: Option<toml::Value>,
    python_versions: Option<String>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    #[serde(default)]
    extras: BTreeMap<String, Vec<String>>,
    source: Option<Source>,
}

#[derive(Deserialize)]
struct Source {
    r#type: String,
    url: String,
    resolved_reference: Option<String>,
    subdirectory: Option<String>,
}

/// Something that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    name: String,
    extras: Vec<String>,
}

/// The packages of a lock that `project`, the text of the `pyproject.toml` beside it in `folder`, asks for; without some of
/// them, and what only these ask for. What is wrong with it, in a fragment.
pub(super) fn read(
    lock: &str,
    project: &str,
    folder: &Path,
    platform: &Platform,
    without: &BTreeSet<String>,
) -> Result<(Vec<Pin>, Places), String> {
    let lock: Lock = toml::from_str(lock).map_err(|error| error.message().to_owned())?;
    let project: toml::Table = toml::from_str(project).map_err(|error| error.message().to_owned())?;
    let mut waiting: VecDeque<Wish> = roots(&project, platform).into();
    let mut seen: BTreeSet<Wish> = BTreeSet::new();
    let mut taken: BTreeMap<usize, Pin> = BTreeMap::new();
    let mut extra = BTreeSet::new();
    while let Some(wish) = waiting.pop_front() {
        if without.contains(&wish.name) || !seen.insert(wish.clone()) {
            continue;
        }
        let fits = |package: &Package| normalized(&package.name) == wish.name && is_for(package, platform);
        let Some((place, package)) = lock.package.iter().enumerate().find(|(_, package)| fits(package))
        else {
            continue;
        };
        if let Some(source) = package.source.as_ref().filter(|source| source.r#type == "legacy") {
            extra.insert(source.url.clone());
        }
        taken.entry(place).or_insert_with(|| pin(package, &lock.metadata, folder));
        for (name, written) in &package.dependencies {
            let alternatives = alternatives(written);
            waiting.extend(
                alternatives.into_iter().filter_map(|one| wanted(name, one, package, &wish, platform)),
            );
        }
    }
    let mut pins: Vec<Pin> = taken.into_values().collect();
    if is_package(&project) {
        let origin = Origin::Local { path: folder.to_owned(), editable: true };
        pins.push(Pin { name: String::new(), origin, marker: None });
    }
    let index = (!extra.contains(PUBLIC)).then(|| PUBLIC.to_owned());
    Ok((pins, Places { index, extra: extra.into_iter().collect(), links: Vec::new() }))
}

/// True when the project itself is to be installed.
fn is_package(project: &toml::Table) -> bool {
    let mode = tool(project).and_then(|poetry| poetry.get("package-mode")).and_then(toml::Value::as_bool);
    mode.unwrap_or(true) && project.contains_key("build-system")
}

fn tool(project: &toml::Table) -> Option<&toml::Value> {
    project.get("tool")?.get("poetry")
}

/// What the project asks for: its dependencies, and the groups that are not optional, as `poetry install` has it.
fn roots(project: &toml::Table, platform: &Platform) -> Vec<Wish> {
    let mut wishes = Vec::new();
    let listed = project.get("project").and_then(|project| project.get("dependencies"));
    for text in listed.and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str) {
        let Some(found) = Requirement::parse(text) else { continue };
        let holds = found.marker.as_deref().and_then(|marker| marker::holds(marker, platform, &[]));
        if holds != Some(false) {
            wishes.push(Wish { name: found.name, extras: found.extras });
        }
    }
    let poetry = tool(project);
    let mut tables: Vec<_> =
        ["dependencies", "dev-dependencies"].iter().filter_map(|key| poetry?.get(key)).collect();
    let groups = poetry.and_then(|poetry| poetry.get("group")).and_then(toml::Value::as_table);
    for group in groups.into_iter().flat_map(toml::Table::values) {
        if group.get("optional").and_then(toml::Value::as_bool) != Some(true) {
            tables.extend(group.get("dependencies"));
        }
    }
    for (name, written) in tables.into_iter().filter_map(toml::Value::as_table).flatten() {
        let is_optional =
            |one: &toml::Value| one.get("optional").and_then(toml::Value::as_bool) == Some(true);
        let alternatives = alternatives(written);
        let one = alternatives.into_iter().find(|one| !is_optional(one) && holds(one, &[], platform));
        if let Some(one) = one.filter(|_| name != "python") {
            wishes.push(Wish { name: normalized(name), extras: extras(one) });
        }
    }
    wishes
}

/// A dependency may be written once, or once for each case.
fn alternatives(written: &toml::Value) -> Vec<&toml::Value> {
    match written.as_array() {
        Some(list) => list.iter().collect(),
        None => vec![written],
    }
}

fn extras(written: &toml::Value) -> Vec<String> {
    let listed = written.get("extras").and_then(toml::Value::as_array);
    listed.into_iter().flatten().filter_map(toml::Value::as_str).map(normalized).collect()
}

fn holds(written: &toml::Value, extras: &[String], platform: &Platform) -> bool {
    let text = |key: &str| written.get(key).and_then(toml::Value::as_str);
    let system = text("platform").is_none_or(|system| system == platform.system);
    let python = text("python").is_none_or(|versions| allows(versions, platform));
    system
        && python
        && text("markers").is_none_or(|text| marker::holds(text, platform, extras) != Some(false))
}

/// A dependency of `package`, if these extras of it, and this machine, want it.
fn wanted(
    name: &str,
    written: &toml::Value,
    package: &Package,
    wish: &Wish,
    platform: &Platform,
) -> Option<Wish> {
    let name = normalized(name);
    let is_optional = written.get("optional").and_then(toml::Value::as_bool) == Some(true);
    let named_by_extra = || {
        let asked = package.extras.iter().filter(|(extra, _)| wish.extras.contains(&normalized(extra)));
        let mut listed = asked.flat_map(|(_, listed)| listed);
        listed.any(|text| Requirement::parse(text).is_some_and(|found| found.name == name))
    };
    let counts = (!is_optional || named_by_extra()) && holds(written, &wish.extras, platform);
    counts.then(|| Wish { name, extras: extras(written) })
}

fn is_for(package: &Package, platform: &Platform) -> bool {
    let marker = package.markers.as_ref();
    let texts: Vec<&str> = match marker.and_then(toml::Value::as_table) {
        Some(groups) => groups.values().filter_map(toml::Value::as_str).collect(),
        None => marker.and_then(toml::Value::as_str).into_iter().collect(),
    };
    let marked =
        texts.is_empty() || texts.iter().any(|text| marker::holds(text, platform, &[]) != Some(false));
    marked && package.python_versions.as_deref().is_none_or(|versions| allows(versions, platform))
}

/// Whether a set of Pythons, as Poetry writes it, has the platform's. One that cannot be read has all.
fn allows(versions: &str, platform: &Platform) -> bool {
    let Some(runtime) = rgrid_core::runtime::Python::new(platform.python_minor) else { return true };
    versions.split("||").any(|one| {
        let one = one.trim().trim_start_matches('^');
        let one =
            if one.starts_with(|c: char| c.is_ascii_digit()) { format!(">={one}") } else { one.to_owned() };
        let one = if one == "*" { String::new() } else { one.replace(' ', ",").replace(",,", ",") };
        one.parse::<rgrid_core::requires_python::RequiresPython>().map_or(true, |set| set.allows(runtime))
    })
}

fn pin(package: &Package, metadata: &Metadata, folder: &Path) -> Pin {
    let files =
        if package.files.is_empty() { metadata.files.get(&package.name) } else { Some(&package.files) };
    let hashes: Hashes = files.into_iter().flatten().map(|file| file.hash.clone()).collect();
    let index = |hashes| Origin::Index { version: package.version.clone(), hashes };
    let origin = match &package.source {
        None => index(hashes),
        Some(source) => match source.r#type.as_str() {
            "git" => {
                let commit = source.resolved_reference.as_deref().unwrap_or("HEAD");
                let inside = source.subdirectory.as_ref().map(|folder| format!("#subdirectory={folder}"));
                let url = format!("git+{}@{commit}{}", source.url, inside.unwrap_or_default());
                Origin::Url { url, hashes: Hashes::new() }
            }
            "directory" | "file" => Origin::Local {
                path: crate::discovery::absolute(folder, Path::new(&source.url)),
                editable: package.develop,
            },
            "url" => Origin::Url { url: source.url.clone(), hashes },
            _ => index(hashes),
        },
    };
    Pin { name: normalized(&package.name), origin, marker: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependencies::pin::text;

    const LOCK: &str = r#"
        [[package]]
        name = "pandas"
        version = "2.2.0"
        python-versions = ">=3.9"
        files = [{file = "p.whl", hash = "sha256:aa"}]
        [package.dependencies]
        numpy = [{version = ">=1.26", markers = "python_version >= \"3.12\""}, {version = "<2", markers = "python_version < \"3.12\""}]
        openpyxl = {version = ">=3.1", optional = true, markers = "extra == \"excel\""}
        lxml = {version = ">=4", optional = true, markers = "extra == \"html\""}
        tzdata = {version = "*", markers = "sys_platform == \"win32\""}
        [package.extras]
        excel = ["openpyxl (>=3.1.0)"]
        html = ["lxml (>=4.9)"]
        [[package]]
        name = "numpy"
        version = "1.26.4"
        python-versions = "<3.12,>=3.9"
        [[package]]
        name = "numpy"
        version = "2.1.0"
        python-versions = ">=3.12"
        [[package]]
        name = "openpyxl"
        version = "3.1.5"
        [[package]]
        name = "lxml"
        version = "5"
        [[package]]
        name = "tzdata"
        version = "2024"
        [[package]]
        name = "mylib"
        version = "1"
        develop = true
        [package.source]
        type = "directory"
        url = "../lib"
        [[package]]
        name = "unasked"
        version = "1"
        [metadata]
        lock-version = "2.0"
        [metadata.files]
        numpy = [{file = "n.whl", hash = "sha256:bb"}]
    "#;

    fn check(project: &str) -> String {
        without(project, &[])
    }

    fn without(project: &str, names: &[&str]) -> String {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let (pins, places) =
            read(LOCK, project, Path::new("/p/app"), &Platform::of_workers(12), &names).unwrap();
        text(&pins, &places)
    }

    #[test]
    fn what_only_a_package_that_is_left_out_asks_for_is_left_out_too() {
        let project = "[tool.poetry]\npackage-mode = false\n[tool.poetry.dependencies]\npandas = {version = '^2', extras = ['excel']}\nnumpy = '*'\n";
        insta::assert_snapshot!(without(project, &["pandas"]), @r"
        --index-url https://pypi.org/simple
        numpy==2.1.0 --hash=sha256:bb
        ");
    }

    #[test]
    fn a_lock_is_walked_from_what_its_project_asks_for() {
        let project = "[tool.poetry.dependencies]\npython = '^3.11'\npandas = {version = '^2', extras = ['excel']}\n[tool.poetry.group.work.dependencies]\nmylib = {path = '../lib', develop = true}\n[build-system]\nrequires = ['poetry-core']\n";
        insta::assert_snapshot!(check(project), @r"
        --index-url https://pypi.org/simple
        -e /p/app
        -e /p/lib
        numpy==2.1.0 --hash=sha256:bb
        openpyxl==3.1.5
        pandas==2.2.0 --hash=sha256:aa
        ");
    }

    #[test]
    fn a_project_of_the_standard_kind_is_walked_too() {
        let project = "[project]\ndependencies = ['pandas>=2', \"lxml; sys_platform == 'win32'\"]\n[tool.poetry]\npackage-mode = false\n[build-system]\n";
        insta::assert_snapshot!(check(project), @r"
        --index-url https://pypi.org/simple
        numpy==2.1.0 --hash=sha256:bb
        pandas==2.2.0 --hash=sha256:aa
        ");
    }
}

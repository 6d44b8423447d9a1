//! `pylock.toml` (PEP 751): of the user's, and as uv exports a project's or a script's lock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::indexes::PUBLIC;
use super::name::normalized;
use super::pin::{Hashes, Origin, Pin, Places};
use super::torch;

#[derive(Deserialize)]
struct PyLock {
    #[serde(default)]
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Option<String>,
    marker: Option<String>,
    index: Option<String>,
    #[serde(default)]
    wheels: Vec<File>,
    sdist: Option<File>,
    archive: Option<File>,
    directory: Option<Directory>,
    vcs: Option<Vcs>,
    /// Not every tool writes them.
    dependencies: Option<toml::Value>,
}

#[derive(Deserialize)]
struct File {
    url: Option<String>,
    path: Option<String>,
    subdirectory: Option<String>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Directory {
    path: String,
    #[serde(default)]
    editable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Vcs {
    r#type: String,
    url: Option<String>,
    path: Option<String>,
    commit_id: String,
    subdirectory: Option<String>,
}

/// The packages of a lock whose relative paths start at `folder`; without some of torch's, and what is for GPUs by its name
/// and not known to be asked for by others. What is wrong with it, in a fragment.
pub(super) fn read(
    text: &str,
    folder: &Path,
    without: &BTreeSet<String>,
) -> Result<(Vec<Pin>, Places), String> {
    let mut lock: PyLock = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if !without.is_empty() {
        let left = left(&lock.packages, without);
        lock.packages.retain(|package| left.contains(&normalized(&package.name)));
    }
    let indexes: BTreeSet<String> =
        lock.packages.iter().filter_map(|package| package.index.clone()).collect();
    let pins = lock.packages.into_iter().map(|package| pin(package, folder)).collect::<Result<_, _>>()?;
    Ok((pins, places(indexes)))
}

/// Names of packages that are not left out, nor for GPUs, and of all that these ask for.
fn left(packages: &[Package], without: &BTreeSet<String>) -> BTreeSet<String> {
    let mut asked: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages {
        let listed = package.dependencies.as_ref().and_then(toml::Value::as_array).into_iter().flatten();
        let listed = listed.filter_map(|one| one.get("name")?.as_str()).map(normalized);
        asked.entry(normalized(&package.name)).or_default().extend(listed);
    }
    let mut left = BTreeSet::new();
    let mut waiting: Vec<String> = asked.keys().filter(|name| !torch::is_for_gpus(name)).cloned().collect();
    while let Some(name) = waiting.pop() {
        if !without.contains(&name) && left.insert(name.clone()) {
            waiting.extend(asked.get(&name).into_iter().flatten().cloned());
        }
    }
    left
}

/// The public index, where it is one of them, is asked last.
pub(super) fn places(mut indexes: BTreeSet<String>) -> Places {
    let public = indexes.iter().find(|url| url.trim_end_matches('/') == PUBLIC).cloned();
    let index = public.or_else(|| indexes.last().cloned());
    index.iter().for_each(|index| {
        indexes.remove(index);
    });
    Places { index, extra: indexes.into_iter().collect(), links: Vec::new() }
}

fn hashes<'a>(files: impl IntoIterator<Item = &'a File>) -> Hashes {
    let each = |file: &'a File| file.hashes.iter().map(|(algorithm, hash)| format!("{algorithm}:{hash}"));
    files.into_iter().flat_map(each).collect()
}

fn pin(package: Package, folder: &Path) -> Result<Pin, String> {
    let local = |path: &str, editable| Origin::Local {
        path: crate::discovery::absolute(folder, Path::new(path)),
        editable,
    };
    let inside = |subdirectory: &Option<String>| {
        subdirectory.as_ref().map(|folder| format!("#subdirectory={folder}")).unwrap_or_default()
    };
    let origin = if let Some(directory) = &package.directory {
        local(&directory.path, directory.editable)
    } else if let Some(archive) = &package.archive {
        match (&archive.url, &archive.path) {
            (Some(url), _) => Origin::Url {
                url: format!("{url}{}", inside(&archive.subdirectory)),
                hashes: hashes([archive]),
            },
            (None, Some(path)) => local(path, false),
            (None, None) => return Err(format!("{} has an archive without an address", package.name)),
        }
    } else if let Some(vcs) = &package.vcs {
        let url = vcs.url.as_ref().or(vcs.path.as_ref());
        let url = url.ok_or_else(|| format!("{} has a repository without an address", package.name))?;
        let url = format!("{}+{url}@{}{}", vcs.r#type, vcs.commit_id, inside(&vcs.subdirectory));
        Origin::Url { url, hashes: Hashes::new() }
    } else if let Some(wheel) =
        package.wheels.first().filter(|wheel| wheel.url.is_none() && wheel.path.is_some())
    {
        local(wheel.path.as_deref().unwrap_or_default(), false)
    } else {
        let version = package.version.ok_or_else(|| format!("{} has no version", package.name))?;
        Origin::Index { version, hashes: hashes(package.wheels.iter().chain(&package.sdist)) }
    };
    Ok(Pin { name: normalized(&package.name), origin, marker: package.marker })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependencies::marker::Platform;
    use crate::dependencies::pin::{text, wanted_on};

    #[test]
    fn every_kind_of_package_is_read() {
        let lock = r#"
            lock-version = "1.0"
            [[packages]]
            name = "idna"
            version = "3.7"
            index = "https://pypi.org/simple"
            sdist = { url = "https://f/idna.tar.gz", hashes = { sha256 = "bb" } }
            wheels = [{ url = "https://f/idna.whl", hashes = { sha256 = "aa" } }]
            [[packages]]
            name = "colorama"
            version = "0.4"
            marker = "sys_platform == 'win32'"
            index = "https://corp/simple"
            [[packages]]
            name = "mylib"
            directory = { path = "../lib", editable = true }
            [[packages]]
            name = "z"
            vcs = { type = "git", url = "https://h/z", commit-id = "0123", subdirectory = "py" }
            [[packages]]
            name = "w"
            archive = { path = "w/w-1.whl", hashes = { sha256 = "cc" } }
        "#;
        let (pins, places) = read(lock, Path::new("/p/app"), &BTreeSet::new()).unwrap();
        insta::assert_snapshot!(text(&wanted_on(pins, &Platform::of_workers(12)), &places), @r"
        --index-url https://pypi.org/simple
        --extra-index-url https://corp/simple
        -e /p/lib
        idna==3.7 --hash=sha256:aa --hash=sha256:bb
        w @ file:///p/app/w/w-1.whl
        z @ git+https://h/z@0123#subdirectory=py
        ");
        let slip = read("packages = 3", Path::new("/"), &BTreeSet::new()).unwrap_err();
        insta::assert_snapshot!(slip, @"invalid type: integer `3`, expected a sequence");
    }

    #[test]
    fn what_is_for_gpus_goes_with_torch_unless_something_else_asks_for_it() {
        let check = |xgboost: &str| {
            let names = ["torch", "nvidia-cudnn-cu12", "Nvidia_NCCL-cu12", "triton", "filelock"];
            let package = |name: &str| format!("[[packages]]\nname = '{name}'\nversion = '1'\n");
            let lock = names.map(package).concat() + &package("xgboost") + xgboost;
            let (pins, _) = read(&lock, Path::new("/"), &["torch".to_owned()].into()).unwrap();
            pins.into_iter().map(|pin| pin.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(check(""), "filelock xgboost");
        assert_eq!(
            check("dependencies = [{ name = 'nvidia-nccl-cu12' }]"),
            "nvidia-nccl-cu12 filelock xgboost"
        );
        assert_eq!(check("dependencies = ['written otherwise']"), "filelock xgboost");
    }
}

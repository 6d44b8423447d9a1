//! `Pipfile.lock`: its `default` section is every package in one version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::name::normalized;
use super::pin::{Hashes, Origin, Pin, Places, local_path};
use super::pylock::places;
use super::torch;

#[derive(Deserialize)]
struct Lock {
    #[serde(rename = "_meta", default)]
    meta: Meta,
    #[serde(default)]
    default: BTreeMap<String, Package>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default)]
    sources: Vec<Source>,
}

#[derive(Deserialize)]
struct Source {
    url: String,
}

#[derive(Deserialize)]
struct Package {
    version: Option<String>,
    markers: Option<String>,
    #[serde(default)]
    hashes: Hashes,
    path: Option<String>,
    file: Option<String>,
    git: Option<String>,
    r#ref: Option<String>,
    subdirectory: Option<String>,
    #[serde(default)]
    editable: bool,
}

/// The packages of a lock in `folder`; without some of torch's, and what is for GPUs by its name: who asks for what is not
/// written there. What is wrong with it, in a fragment.
pub(super) fn read(
    text: &str,
    folder: &Path,
    without: &BTreeSet<String>,
) -> Result<(Vec<Pin>, Places), String> {
    let lock: Lock = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let sources: BTreeSet<String> = lock.meta.sources.into_iter().map(|source| source.url).collect();
    let mut pins: Vec<Pin> = lock
        .default
        .into_iter()
        .map(|(name, package)| pin(&name, package, folder))
        .collect::<Result<_, _>>()?;
    if !without.is_empty() {
        pins.retain(|pin| !without.contains(&pin.name) && !torch::is_for_gpus(&pin.name));
    }
    Ok((pins, places(sources)))
}

fn pin(name: &str, package: Package, folder: &Path) -> Result<Pin, String> {
    let inside = package.subdirectory.map(|folder| format!("#subdirectory={folder}")).unwrap_or_default();
    let origin = if let Some(path) = package.path {
        Origin::Local { path: local_path(&path, folder), editable: package.editable }
    } else if let Some(url) = package.git {
        let commit = package.r#ref.ok_or_else(|| format!("{name} has a repository and no commit"))?;
        Origin::Url { url: format!("git+{url}@{commit}{inside}"), hashes: Hashes::new() }
    } else if let Some(file) = package.file {
        match file.contains("://") {
            true => Origin::Url { url: file, hashes: package.hashes },
            false => Origin::Local { path: local_path(&file, folder), editable: false },
        }
    } else {
        let version = package.version.as_deref().map(|version| version.trim_start_matches('=').to_owned());
        let version = version.ok_or_else(|| format!("{name} has no version"))?;
        Origin::Index { version, hashes: package.hashes }
    };
    Ok(Pin { name: normalized(name), origin, marker: package.markers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dependencies::marker::Platform;
    use crate::dependencies::pin::{text, wanted_on};

    #[test]
    fn the_default_section_is_read() {
        let lock = r#"{
            "_meta": {"sources": [{"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": true}]},
            "default": {
                "idna": {"hashes": ["sha256:bb", "sha256:aa"], "index": "pypi", "markers": "python_version >= '3.6'", "version": "==3.7"},
                "win": {"markers": "sys_platform == 'win32'", "version": "==1"},
                "mine": {"editable": true, "path": "."},
                "z": {"git": "https://h/z.git", "ref": "0123"}
            },
            "develop": {"pytest": {"version": "==8"}}
        }"#;
        let (pins, places) = read(lock, Path::new("/p"), &BTreeSet::new()).unwrap();
        insta::assert_snapshot!(text(&wanted_on(pins, &Platform::of_workers(12)), &places), @r"
        --index-url https://pypi.org/simple
        -e /p
        idna==3.7 --hash=sha256:aa --hash=sha256:bb
        z @ git+https://h/z.git@0123
        ");
    }
}

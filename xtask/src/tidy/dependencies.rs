//! Edges between our crates equal the table in docs/architecture.md; versions stand in the root only; no dependency
//! is named without being used; no crate of others is built in two major versions beyond a named list.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use super::files::tracked;
use crate::{cargo, output, root};

/// Built twice because others have not moved yet; each with who holds it back.
const DUPLICATES_KNOWN: &[&str] = &[
    "base64",        // reqwest
    "block-buffer",  // chacha20poly1305
    "cpufeatures",   // chacha20poly1305
    "crypto-common", // chacha20poly1305
    "digest",        // chacha20poly1305
    "sha2",          // sqlx
    "getrandom",     // rand, uuid
    "hashbrown",     // sqlx, metrics
    "rand",          // metrics, proptest
    "rand_core",     // rand
    "syn",           // proc macros
    "tower-http",    // reqwest
    "winnow",        // toml
];

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    edges(findings)?;
    manifests(findings)?;
    duplicates(findings)
}

/// Rows of the table under "## Crates" of docs/architecture.md: `| `core` | charter | core, api | never |`.
fn edges(findings: &mut Vec<String>) -> Result<()> {
    let page =
        std::fs::read_to_string(root().join("docs/architecture.md")).context("read docs/architecture.md")?;
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page
        .lines()
        .skip_while(|line| !line.starts_with("## Crates"))
        .skip(1)
        .take_while(|l| !l.starts_with("## "))
    {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, name, _, may_use, ..] = cells[..]
            && let Some(name) = name.strip_prefix('`').and_then(|n| n.strip_suffix('`'))
        {
            let used = may_use.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "-");
            table.insert(name.to_owned(), used.map(str::to_owned).collect());
        }
    }
    let metadata: serde_json::Value = serde_json::from_str(&output(cargo().args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ]))?)?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let folder = short(package["name"].as_str().unwrap_or_default());
        let used: BTreeSet<String> = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"].is_null())
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|name| name.starts_with("rgrid"))
            .map(short)
            .collect();
        match table.remove(&folder) {
            Some(written) if written == used => {}
            Some(written) => findings.push(format!(
                "docs/architecture.md says that {folder} uses {written:?}, and its manifest says {used:?}"
            )),
            None => findings.push(format!("docs/architecture.md has no row for {folder}")),
        }
    }
    for folder in table.keys() {
        findings.push(format!("docs/architecture.md has a row for {folder}, and there is no such crate"));
    }
    Ok(())
}

fn short(name: &str) -> String {
    name.strip_prefix("rgrid-").unwrap_or(name).to_owned()
}

fn manifests(findings: &mut Vec<String>) -> Result<()> {
    for file in tracked(&["Cargo.toml"])? {
        let Some(folder) = file.strip_suffix("Cargo.toml").filter(|folder| !folder.is_empty()) else {
            continue;
        };
        let manifest: toml::Table = std::fs::read_to_string(root().join(&file))?.parse()?;
        let sources = tracked(&[".rs"])?
            .into_iter()
            .filter(|source| source.starts_with(folder))
            .map(|source| std::fs::read_to_string(root().join(source)))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(names) = manifest.get(section).and_then(toml::Value::as_table) else { continue };
            for (name, how) in names {
                if how.as_str().is_some() || how.get("version").is_some() {
                    findings.push(format!("{file}: the version of {name} belongs in the root"));
                }
                if !sources.contains(&name.replace('-', "_")) && name != "rustls" {
                    findings.push(format!("{file}: {name} is used nowhere"));
                }
            }
        }
    }
    Ok(())
}

fn duplicates(findings: &mut Vec<String>) -> Result<()> {
    let tree =
        output(cargo().args(["tree", "--duplicates", "--depth", "0", "--edges", "normal", "--locked"]))?;
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name.to_owned()).or_default().insert(version.to_owned());
        }
    }
    for (name, versions) in versions.iter().filter(|(_, versions)| versions.len() > 1) {
        if !DUPLICATES_KNOWN.contains(&name.as_str()) {
            findings.push(format!("{name} is built in {} versions: {versions:?}", versions.len()));
        }
    }
    Ok(())
}

//! SQL: each query is used once, says its purpose first, and a migration that landed is never edited.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;

use super::files::tracked;
use crate::{output, root};

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    let sources = tracked(&[".rs"])?
        .into_iter()
        .filter(|file| file.starts_with("crates/store/src/"))
        .map(|file| std::fs::read_to_string(root().join(file)))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    for file in tracked(&[".sql"])? {
        let text = std::fs::read_to_string(root().join(&file))?;
        if !text.starts_with("--") {
            findings.push(format!("{file}: opens without a comment on its purpose"));
        }
        if let Some((_, query)) = file.split_once("store/queries/") {
            match sources.matches(&format!("queries/{query}\"")).count() {
                1 => {}
                0 => findings.push(format!("{file}: is used nowhere")),
                times => findings.push(format!("{file}: is used {times} times; one method a query")),
            }
        }
    }
    landed_migrations(findings)
}

/// Compares each migration with `migrations/landed.txt`: a line `hash name` for each that landed. `git hash-object`
/// needs no history, so this works in a shallow clone too.
fn landed_migrations(findings: &mut Vec<String>) -> Result<()> {
    let list = root().join("crates/store/migrations/landed.txt");
    let landed: BTreeMap<String, String> = std::fs::read_to_string(&list)
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect();
    let mut names: Vec<String> =
        tracked(&[".sql"])?.into_iter().filter(|file| file.starts_with("crates/store/migrations/")).collect();
    names.sort();
    for file in &names {
        let name = file.rsplit('/').next().unwrap_or(file);
        let hash = output(Command::new("git").args(["hash-object", file]).current_dir(root()))?;
        match landed.get(name) {
            Some(known) if known == hash.trim() => {}
            Some(_) => {
                findings.push(format!("{file}: was edited after it landed; write a new migration instead"))
            }
            None => findings.push(format!("{file}: add it to migrations/landed.txt: {} {name}", hash.trim())),
        }
    }
    for name in landed.keys().filter(|name| !names.iter().any(|file| file.ends_with(name.as_str()))) {
        findings.push(format!("crates/store/migrations/{name}: landed, and is gone"));
    }
    Ok(())
}

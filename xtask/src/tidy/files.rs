//! Rust files: their length, their first lines, their names.

use std::process::Command;

use anyhow::Result;

use crate::{output, root};

/// Lines of a file outside its `mod tests` (STYLE: past this it wants a second noun).
const LINES_MAX: usize = 500;
/// Names that say nothing.
const FORBIDDEN: &[&str] =
    &["utils", "util", "helpers", "helper", "common", "misc", "manager", "imp", "data", "info"];

/// All files that git tracks or would track, relative to the workspace.
pub(super) fn tracked(endings: &[&str]) -> Result<Vec<String>> {
    let list = output(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root()),
    )?;
    Ok(list
        .lines()
        .filter(|file| endings.iter().any(|ending| file.ends_with(ending)) && root().join(file).is_file())
        .map(str::to_owned)
        .collect())
}

pub(super) fn check(findings: &mut Vec<String>) -> Result<()> {
    for file in tracked(&[".rs"])? {
        let text = std::fs::read_to_string(root().join(&file))?;
        let own = text.find("#[cfg(test)]\nmod tests").map_or(text.as_str(), |end| &text[..end]);
        let lines = own.lines().count();
        if lines > LINES_MAX && !file.contains("/tests/") {
            findings
                .push(format!("{file}: {lines} lines, and {LINES_MAX} are the end: it wants a second noun"));
        }
        if !text.starts_with("//!") {
            findings.push(format!("{file}: opens without a line on what it holds"));
        }
        let parts = file.trim_end_matches(".rs").split('/');
        if let Some(part) = parts.clone().find(|part| FORBIDDEN.contains(part)) {
            findings.push(format!("{file}: the name `{part}` says nothing"));
        }
    }
    Ok(())
}

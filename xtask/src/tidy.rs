//! The rules that no other tool checks. Each finding is a line; all are printed before it fails.

mod dependencies;
mod files;
mod sql;

use anyhow::{Result, bail};

pub(crate) fn tidy() -> Result<()> {
    let mut findings = Vec::new();
    files::check(&mut findings)?;
    sql::check(&mut findings)?;
    dependencies::check(&mut findings)?;
    for finding in &findings {
        eprintln!("tidy: {finding}");
    }
    if findings.is_empty() {
        eprintln!("tidy: nothing to say");
        return Ok(());
    }
    bail!("{} finding(s) of tidy", findings.len())
}

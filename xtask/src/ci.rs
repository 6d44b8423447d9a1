//! What must be green, in the order in which a failure is cheapest.

use anyhow::Result;

use crate::{cargo, prerequisites, run, tidy};

pub(crate) fn ci() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    tidy::tidy()?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))?;
    run(cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::bare_urls"))?;
    test(&[])
}

/// All tests. `rest` goes to `cargo test` unchanged.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    prerequisites::ensure()?;
    run(cargo().args(["test", "--workspace", "--locked", "--no-fail-fast"]).args(rest))
}

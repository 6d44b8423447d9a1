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

/// Tests in which a job takes all that the machine has, and what another job is left with is looked at: they run after all
/// others, one at a time, for the processes of a test beside them would be in the way of that other job too.
const ALONE: [&str; 2] = [
    "hostile::hostile_jobs_end_as_they_should_and_harm_nobody",
    "hostile::a_flood_of_log_loses_its_middle_and_harms_nobody",
];

/// All tests. `rest` goes to `cargo test` unchanged.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    prerequisites::ensure()?;
    let tests = || {
        let mut tests = cargo();
        tests.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
        tests
    };
    if !rest.is_empty() {
        return run(tests().args(rest));
    }
    let beside = run(tests().arg("--").args(ALONE.iter().flat_map(|name| ["--skip", name])));
    // The same packages again, or features would be others and much would be built anew.
    let alone = run(tests().args(["--test", "it", "--", "--exact", "--test-threads", "1"]).args(ALONE));
    beside.and(alone)
}

#[cfg(test)]
mod tests {
    use super::ALONE;

    #[test]
    fn what_runs_alone_is_there() {
        for name in ALONE {
            let (module, test) = name.split_once("::").unwrap();
            let text =
                std::fs::read_to_string(crate::root().join(format!("crates/rgrid/tests/it/{module}.rs")));
            assert!(text.unwrap().contains(&format!("#[test]\nfn {test}() {{")), "{name} is gone");
        }
    }
}

//! What must be green, in the order in which a failure is cheapest.

use std::io::Write as _;
use std::process::Output;

use anyhow::{Context as _, Result, ensure};

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

/// Tests that wait for most of their time, and for minutes: they run beside all others.
const BESIDE: &str = "misfortunes::";

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
    // Built first: two at once would each wait for the other's build.
    run(tests().arg("--no-run"))?;
    let mut beside = tests();
    beside.args(["--test", "it", "--", BESIDE]);
    let beside = std::thread::spawn(move || beside.output());
    let skipped = ALONE.into_iter().chain([BESIDE]).flat_map(|name| ["--skip", name]);
    let most = run(tests().arg("--").args(skipped));
    let beside = finished(beside.join());
    // The same packages again, or features would be others and much would be built anew.
    let alone = run(tests().args(["--test", "it", "--", "--exact", "--test-threads", "1"]).args(ALONE));
    most.and(beside).and(alone)
}

/// Prints what was printed beside; an error when a test failed there.
fn finished(beside: std::thread::Result<std::io::Result<Output>>) -> Result<()> {
    let beside = beside.map_err(|_| anyhow::anyhow!("nobody waited for {BESIDE}"))?;
    let beside = beside.with_context(|| format!("start {BESIDE}"))?;
    eprintln!("$ cargo test {BESIDE}, beside the others");
    std::io::stdout().write_all(&beside.stdout)?;
    std::io::stderr().write_all(&beside.stderr)?;
    ensure!(beside.status.success(), "{BESIDE} ended with {}", beside.status);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{ALONE, BESIDE};

    #[test]
    fn what_runs_alone_or_beside_is_there() {
        let module = BESIDE.trim_end_matches("::");
        let tests = crate::root().join("crates/orchestrator/tests/it").join(module);
        assert!(tests.join("mod.rs").is_file(), "{BESIDE} is gone");
        for name in ALONE {
            let (module, test) = name.split_once("::").unwrap();
            let text =
                std::fs::read_to_string(crate::root().join(format!("crates/rgrid/tests/it/{module}.rs")));
            assert!(text.unwrap().contains(&format!("#[test]\nfn {test}() {{")), "{name} is gone");
        }
    }
}

//! Each target of `fuzz/` under libFuzzer for some minutes, one after the other. What was found lives in
//! `target/fuzz`; of it the inputs that reach something new are kept in `fuzz/corpus`, beside those written by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::{cargo, output, prerequisites, root, run};

/// Minutes of each target unless others are asked for.
const MINUTES: u64 = 5;
/// Longer inputs are not tried: what a reader does with a repetition is seen in these.
const INPUT_BYTES_MAX: &str = "-max_len=4096";
/// An input that takes longer is a finding, in seconds.
const INPUT_DEADLINE: &str = "-timeout=10";
/// A process that takes more is a finding, in MiB.
const MEMORY_MAX: &str = "-rss_limit_mb=2048";
/// Inputs of a target that are kept beside those by hand: tests go through all of them, and everybody clones them.
const FOUND_MAX: usize = 100;
/// Where the last run of each target is written down, a line each.
const LOG: &str = "docs/soak-fuzz.log";
/// What builds the targets: the release's link-time optimisation would take minutes for each of them.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_STRIP", "none"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "2"),
];

/// What libFuzzer said of a target.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    executions: u64,
    coverage: u64,
    features: u64,
}

/// Fuzzes the targets of these names, or all of them.
pub(super) fn soak(args: &[String]) -> Result<()> {
    let minutes = super::minutes(args, MINUTES)?;
    let value = args.iter().position(|arg| arg == "--minutes").map(|at| at + 1);
    let names = args.iter().enumerate().filter(|(at, arg)| Some(*at) != value && !arg.starts_with("--"));
    let names: Vec<&String> = names.map(|(_, name)| name).collect();
    let targets = targets()?;
    if let Some(unknown) = names.iter().find(|name| !targets.contains(name)) {
        bail!("there is no target {unknown}, only {}", targets.join(", "));
    }
    prerequisites::ensure_fuzzer()?;
    for name in targets.iter().filter(|target| names.is_empty() || names.contains(target)) {
        let figures = fuzz(name, minutes)?;
        let (files, bytes) = keep(name)?;
        let date = output(Command::new("date").args(["-u", "+%F %H:%M UTC"]))?;
        let line = format!(
            "{name:<10} {} held for {} executions in {minutes} min; {} edges, {} features; kept: {files} inputs, {bytes} bytes",
            date.trim(),
            figures.executions,
            figures.coverage,
            figures.features
        );
        println!("{line}");
        let log = root().join(LOG);
        let before = fs::read_to_string(&log).unwrap_or_default();
        fs::write(log, logged(&before, &targets, name, &line))?;
    }
    Ok(())
}

/// The log with `line` in the place of the target's last one.
fn logged(before: &str, targets: &[String], name: &str, line: &str) -> String {
    let of = |target: &str| before.lines().find(|line| line.split(' ').next() == Some(target));
    let lines = targets.iter().filter_map(|target| if target == name { Some(line) } else { of(target) });
    let title = "cargo xtask soak --fuzz: the last run of each target\n\n".to_owned();
    lines.fold(title, |log, line| log + line + "\n")
}

/// The names of all targets, sorted.
fn targets() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Where the inputs of a target lie that were written by hand, or kept.
fn kept(name: &str) -> PathBuf {
    root().join("fuzz/corpus").join(name)
}

/// A folder of a target's that a run may fill.
fn work(name: &str, kind: &str) -> Result<PathBuf> {
    let folder = root().join("target/fuzz").join(kind).join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn libfuzzer(name: &str, folders: &[&Path], options: &[&str]) -> Command {
    let mut command = cargo();
    command.args(["fuzz", "run", "--fuzz-dir", "fuzz", "--sanitizer", "none", "--features", "harness", name]);
    command.args(folders).arg("--").args(options).args([INPUT_BYTES_MAX, INPUT_DEADLINE, MEMORY_MAX]);
    command.envs(PROFILE);
    command
}

/// Runs one target; its findings end the run.
fn fuzz(name: &str, minutes: u64) -> Result<Figures> {
    let log = work(name, "log")?.join("last.log");
    let seconds = format!("-max_total_time={}", minutes * 60);
    let found = work(name, "corpus")?;
    let mut command = libfuzzer(name, &[&found, &kept(name)], &[&seconds, "-print_final_stats=1"]);
    eprintln!("{name}: {minutes} min, its words in {}", log.display());
    let status = command.stdout(Stdio::null()).stderr(fs::File::create(&log)?).status()?;
    let said = fs::read_to_string(&log)?;
    if !status.success() {
        let input = said.lines().rev().find_map(|line| line.trim().split_once("Test unit written to "));
        let input = input.map_or("none was written", |(_, path)| path);
        bail!("{name} broke; the input: {input}; what was said: {}", log.display());
    }
    figures(&said).with_context(|| format!("{}: libFuzzer gave no figures", log.display()))
}

fn figures(said: &str) -> Option<Figures> {
    let field = |name: &str| {
        let after = said.rmatch_indices(name).next().map(|(at, _)| &said[at + name.len()..])?;
        after.split_whitespace().next()?.parse().ok()
    };
    Some(Figures {
        executions: field("stat::number_of_executed_units:")?,
        coverage: field(" cov:")?,
        features: field(" ft:")?,
    })
}

/// Keeps what is written by hand, and of what reaches something that those do not the smallest. Answers the number of
/// inputs and their bytes.
fn keep(name: &str) -> Result<(usize, u64)> {
    let fresh = work(name, "kept")?;
    fs::remove_dir_all(&fresh)?;
    fs::create_dir(&fresh)?;
    for input in fs::read_dir(kept(name))? {
        let input = input?;
        if !is_hash(&input.file_name().to_string_lossy()) {
            fs::copy(input.path(), fresh.join(input.file_name()))?;
        }
    }
    let mut merge = libfuzzer(name, &[&fresh, &kept(name), &work(name, "corpus")?], &["-merge=1"]);
    run(merge.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let mut inputs = Vec::new();
    for input in fs::read_dir(&fresh)? {
        let input = input?;
        let found = is_hash(&input.file_name().to_string_lossy());
        inputs.push((found, input.metadata()?.len(), input.file_name()));
    }
    // Those by hand first, then the smallest.
    inputs.sort();
    let by_hand = inputs.iter().filter(|(found, ..)| !found).count();
    inputs.truncate(by_hand + FOUND_MAX);
    fs::remove_dir_all(kept(name))?;
    fs::create_dir(kept(name))?;
    for (_, _, input) in &inputs {
        fs::copy(fresh.join(input), kept(name).join(input))?;
    }
    let (files, bytes) = (inputs.len(), inputs.iter().map(|(_, bytes, _)| bytes).sum());
    ensure!(files > 0, "{name} keeps no input");
    Ok((files, bytes))
}

/// What libFuzzer calls its inputs.
fn is_hash(name: &str) -> bool {
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_one_target_leaves_the_others_lines() {
        let targets = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let log = logged("title\n\nb old\nc old\n", &targets, "b", "b new");
        assert!(log.ends_with("\n\nb new\nc old\n"), "{log}");
        assert!(logged(&log, &targets, "a", "a new").ends_with("\n\na new\nb new\nc old\n"));
    }

    #[test]
    fn the_figures_are_the_last_ones_that_were_said() {
        let said = "#2\tINITED cov: 10 ft: 11 corp: 1/1b\n#9\tDONE   cov: 20 ft: 31 corp: 5/90b lim: 4096\n\
                    stat::number_of_executed_units: 9\n";
        assert_eq!(figures(said), Some(Figures { executions: 9, coverage: 20, features: 31 }));
        assert_eq!(figures("error: could not compile"), None);
    }
}

//! The developer's commands: `cargo xtask ci|test|tidy|bench|fresh|soak`. What CI runs is `ci` and nothing else.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks on the terminal")]

mod bench;
mod ci;
mod fresh;
mod prerequisites;
mod soak;
mod tidy;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
cargo xtask COMMAND

  ci       everything that must be green: fmt, clippy, tidy, test, doc
  test     all tests; installs what they need (as root) or names the one apt line
  tidy     the rules that no other tool checks
  bench    measures us beside the peers and writes docs/benchmarks.md
  fresh    both README commands on a bare Debian 12 made by debootstrap (as root)
  soak     a grid under kill -9 for some minutes: nothing lost, nothing twice [--minutes N];
           --outages: the database, the API, a runner and the whole grid away for minutes, and 1,000 executions under
           kill -9 of their runners;
           --cloud: 500 seeded misfortunes over the orchestrator and the stand-in for the provider of servers;
           --claims [--minutes N]: 64 claimers, a batch of 1,000,000 at its limit, 10,000 others, an old snapshot open;
           --workers [--minutes N]: 10,000 simulated workers at one API, whose CPU and memory are printed;
           --gc [--minutes N]: garbage collection under submissions of the same blobs;
           --hostile: jobs that take all they can get at full size (10 GiB of log, 100,000 files), their neighbour held
           to its pace; wants 4 GiB of free disk and a quiet machine;
           --schemathesis: the API as each role against its own OpenAPI document, all examples;
           --random: the store against its model in random order, all sequences;
           --fuzz [NAME...] [--minutes N]: each reader of outside bytes under libFuzzer, 5 minutes each; installs
           cargo-fuzz, and wants a C++ compiler;
           --guards [NAME...]: each guard of guards.toml is switched off, and its test must fail
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let asks = args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h"));
    let result = match args.first().map(String::as_str) {
        Some(_) if asks => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some("ci") => ci::ci(),
        Some("test") => ci::test(&args[1..]),
        Some("tidy") => tidy::tidy(),
        Some("bench") => bench::bench(&args[1..]),
        Some("fresh") => fresh::fresh(&args[1..]),
        Some("soak") => soak::soak(&args[1..]),
        Some("help") => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(_) | None => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the workspace holds this crate")
}

/// Runs a command and fails with its own words when it does.
fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("start {shown}"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// What a command prints on stdout.
fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("start {shown}"))?;
    if !output.status.success() {
        bail!("`{shown}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Cargo, as it was called, in the workspace's folder.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // What the outer cargo says of this crate makes build scripts of others run anew (ring looks at these), and with
    // them everything above them.
    for (name, _) in std::env::vars_os() {
        let ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if ours {
            command.env_remove(name);
        }
    }
    command
}

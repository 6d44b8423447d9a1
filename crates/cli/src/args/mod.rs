//! The command line of every user command, as data. What a command does with it is in `commands/`.

mod run;

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};

pub(crate) use run::{OnInterrupt, RunArgs};

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct Globals {
    /// Use this profile of ~/.rgrid/credentials
    #[arg(long, global = true, value_name = "NAME", help_heading = "Every command")]
    pub profile: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Every command")]
    pub json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true, help_heading = "Every command")]
    pub quiet: bool,
}

/// The user's commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a Python script on the grid, as `python SCRIPT ARGS` would
    Run(Box<RunArgs>),
    /// Show where an execution stands, and why it waits
    Status(ExecutionArg),
    /// List executions, newest first
    List(ListArgs),
    /// Print what an execution wrote
    Logs(LogsArgs),
    /// List the files an execution wrote
    Outputs(ExecutionArg),
    /// Bring back the files an execution wrote
    Download(DownloadArgs),
    /// End an execution, and wait until it has ended
    Cancel(ExecutionArg),
    /// Give a running execution more time
    Extend(ExtendArgs),
    /// Run an execution again, with the same inputs
    Retry(RetryArgs),
    /// Show what executions cost on servers that are paid by the hour
    Cost(CostArgs),
    /// List the machines that run executions
    Workers,
    /// Connect to a grid: asks for its address and a key
    Init(InitArgs),
    /// List, create and revoke API keys
    Keys(KeysArgs),
    /// List what executions can be run by: Pythons and container images
    Runtimes,
    /// Show which account and key this is
    Whoami,
    /// Show the configuration in use
    Config(ConfigArgs),
    /// Check that everything works, and say how to repair what does not
    Doctor,
    /// Remove what the grid no longer needs
    Prune,
    /// Print the completion script of a shell
    Completions(CompletionsArgs),
}

/// Names one execution.
#[derive(Debug, Args)]
pub struct ExecutionArg {
    /// The execution's id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Of `rgrid list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only these statuses: pending, queued, running, completed, failed, timed_out, cancelled
    #[arg(long, value_name = "STATUS", value_delimiter = ',', value_parser = status)]
    pub(crate) status: Vec<rgrid_core::execution::Status>,
    /// Only executions with this name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only executions with this label
    #[arg(long, value_name = "K=V")]
    pub(crate) metadata: Option<String>,
    /// At most this many
    #[arg(long, short = 'l', value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

/// Of `rgrid cost`.
#[derive(Debug, Args)]
pub struct CostArgs {
    /// Only this execution, with its attempts: its id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Only hours that began since then, such as 2026-11-01 or 2026-11-01T08:00:00Z; if absent since the first of the month
    #[arg(long, value_name = "DATE", value_parser = moment)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// At most this many
    #[arg(long, short = 'l', value_name = "N", default_value_t = 20)]
    pub(crate) limit: u32,
}

/// Of `rgrid logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The execution's id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Go on until the execution ends, and exit with its code
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Start this many lines before the end
    #[arg(long, value_name = "N")]
    pub(crate) tail: Option<u32>,
    /// Only what it wrote to standard output
    #[arg(long, conflicts_with = "stderr_only")]
    pub(crate) stdout_only: bool,
    /// Only what it wrote to standard error
    #[arg(long)]
    pub(crate) stderr_only: bool,
    /// What was said while its packages were installed, instead of what it wrote
    ///
    /// Of the newest attempt, once its packages are there or could not be installed: the installer's own words, with the
    /// output of packages that were built from source, at most the last 64 KiB. Where the packages were there already,
    /// it is what was said when they were installed.
    #[arg(long, conflicts_with_all = ["follow", "tail", "stdout_only", "stderr_only"])]
    pub(crate) packages: bool,
}

/// Of `rgrid download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// The execution's id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Put the files into this folder instead of where the script would have written them
    #[arg(long, value_name = "DIR")]
    pub(crate) output_dir: Option<String>,
}

/// Of `rgrid extend`.
#[derive(Debug, Args)]
pub struct ExtendArgs {
    /// The execution's id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// How much longer it may run, such as 10m or 1h30m
    #[arg(value_name = "DURATION", value_parser = duration)]
    pub(crate) by: Duration,
}

/// Of `rgrid retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    /// The execution's id, a beginning of it, or `last`
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Print the id of the new execution and do not wait for it
    #[arg(long, short)]
    pub(crate) detach: bool,
}

/// Of `rgrid init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The grid's address, such as https://grid.example.com; asked for when absent
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// Read the key from this file (`-`: standard input) instead of asking for it
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<String>,
}

/// Of `rgrid keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: Option<KeysCommand>,
}

/// What to do with keys; nothing named lists them.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// List the account's keys
    List,
    /// Make a key; its secret is shown once
    Create {
        /// A name for people
        name: String,
        /// What the key may do: member or admin
        #[arg(long, default_value = "member", value_parser = role)]
        role: rgrid_api::keys::Role,
    },
    /// Revoke a key at once
    Revoke {
        /// The key's id: key_...
        id: String,
    },
}

/// Of `rgrid config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show which grid is used and why, and the project's defaults
    Show,
}

/// Of `rgrid completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh
    pub(crate) shell: clap_complete::Shell,
}

fn duration(text: &str) -> Result<Duration, String> {
    rgrid_core::quantity::parse_duration(text).map_err(|error| error.to_string())
}

/// A day's beginning, or a moment.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    let day = text.parse::<NaiveDate>().map(|day| day.and_time(NaiveTime::MIN).and_utc());
    day.or_else(|_| text.parse()).map_err(|_| format!("{text:?} is no date such as 2026-11-01"))
}

fn status(text: &str) -> Result<rgrid_core::execution::Status, String> {
    text.parse().map_err(|error: rgrid_core::execution::UnknownStatus| error.to_string())
}

fn role(text: &str) -> Result<rgrid_api::keys::Role, String> {
    match text {
        "admin" => Ok(rgrid_api::keys::Role::Admin),
        "member" => Ok(rgrid_api::keys::Role::Member),
        other => Err(format!("{other:?} is neither member nor admin")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "rgrid")]
    struct Line {
        #[command(flatten)]
        globals: Globals,
        #[command(subcommand)]
        command: Command,
    }

    /// What of `rgrid run LINE` is ours, and what the script's.
    fn check(line: &str) -> String {
        let words = shlex::split(line).unwrap();
        match Line::try_parse_from(["rgrid", "run"].into_iter().map(str::to_owned).chain(words)) {
            Ok(Line { command: Command::Run(args), globals }) => {
                format!(
                    "module {:?} script {:?} inputs {:?} detach {} json {}",
                    args.module, args.script, args.input, args.detach, globals.json
                )
            }
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn everything_after_the_script_is_the_scripts() {
        insta::assert_snapshot!(check("--input a s.py --input b -d --json -- -x --help"), @r#"module [] script ["s.py", "--input", "b", "-d", "--json", "--", "-x", "--help"] inputs ["a"] detach false json false"#);
        insta::assert_snapshot!(check("s.py"), @r#"module [] script ["s.py"] inputs [] detach false json false"#);
        insta::assert_snapshot!(check("-d --json -- s.py -- a"), @r#"module [] script ["s.py", "--", "a"] inputs [] detach true json true"#);
    }

    #[test]
    fn everything_after_the_module_is_the_modules() {
        insta::assert_snapshot!(check("--input a -m pkg.mod --input b -d -- -x --help"), @r#"module ["pkg.mod", "--input", "b", "-d", "--", "-x", "--help"] script [] inputs ["a"] detach false json false"#);
        insta::assert_snapshot!(check("-mpkg.mod a b"), @r#"module ["pkg.mod"] script ["a", "b"] inputs [] detach false json false"#);
    }

    #[test]
    fn wrong_usage_is_named() {
        insta::assert_snapshot!(check(""), @"error: the following required arguments were not provided:");
        insta::assert_snapshot!(check("--memroy 3G s.py"), @"error: unexpected argument '--memroy' found");
        insta::assert_snapshot!(check("--memory much s.py"), @r#"error: invalid value 'much' for '--memory <SIZE>': "much" is not a size such as 512M or 3G"#);
        insta::assert_snapshot!(check("--timeout soon s.py"), @r#"error: invalid value 'soon' for '--timeout <TIME>': "soon" is not a time such as 90, 10m or 1h30m"#);
        insta::assert_snapshot!(check("--runtime 2.7 s.py"), @r#"error: invalid value '2.7' for '--runtime <PYTHON>': "2.7" is not a runtime; known are python:3.10 to python:3.14"#);
    }

    #[test]
    fn options_of_a_later_version_are_known_by_name() {
        for option in ["--secret K", "--max-cost 3", "--notify u", "--gpu"] {
            let words = shlex::split(&format!("rgrid run {option} s.py")).unwrap();
            let Command::Run(args) = Line::try_parse_from(words).unwrap().command else { panic!("{option}") };
            assert_eq!(args.later.first(), option.split(' ').next(), "{option}");
            assert_eq!(args.script, ["s.py"]);
        }
    }
}

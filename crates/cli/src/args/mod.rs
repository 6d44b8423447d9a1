//! The command line of every user command, as data. What a command does with it is in `commands/`.

mod run;

use std::time::Duration;

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
    /// List the machines that run executions
    Workers,
    /// Connect to a grid: asks for its address and a key
    Init(InitArgs),
    /// List, create and revoke API keys
    Keys(KeysArgs),
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

//! The whole command line: the user's commands as `rgrid-cli` has them, and the roles of a grid.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rgrid_core::money::Price;
use rgrid_sim::setup::{Policy, Setup};

use crate::config::Flag;

/// Run Python scripts on other machines as simply as on your own.
#[derive(Debug, Parser)]
#[command(name = "rgrid", version, about, long_about = None, arg_required_else_help = true, max_term_width = 110)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) entry: Entry,
    #[command(flatten)]
    pub(crate) globals: rgrid_cli::Globals,
}

/// One thing that this binary does.
#[derive(Debug, Subcommand)]
pub(crate) enum Entry {
    #[command(flatten)]
    User(rgrid_cli::Command),
    /// Start the grid on this machine, which other commands do by themselves when no grid is configured
    Up(UpArgs),
    /// Stop the grid on this machine; what is queued goes on with the next start
    Down(DownArgs),
    /// Serve the HTTP API of a grid
    Api(ApiArgs),
    /// Look after a grid's workers
    Orchestrator(ServiceArgs),
    /// Run executions on this machine as a worker of a grid
    Runner(RunnerArgs),
    /// Bring a grid's database up to date
    Migrate(ServiceArgs),
    /// Show what a trace of jobs would cost and how long they would wait, by the decisions of a grid's orchestrator
    Simulate(SimulateArgs),
    /// Look after a grid from its own host: keys, accounts, workers' tokens
    Admin(AdminArgs),
    /// See what servers are billed and whose they are, or stop all spending; from the grid's own host
    Cloud(CloudArgs),
}

/// Of every role.
#[derive(Debug, Default, Args)]
pub(crate) struct ServiceArgs {
    /// Read settings from this file, before those of the environment
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Of `rgrid up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// Stay in this terminal, log to it, and never stop by itself
    #[arg(long, conflicts_with = "background")]
    pub(crate) foreground: bool,
    /// Be the daemon
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

/// Of `rgrid down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Delete everything it has: history, queued executions, files
    #[arg(long)]
    pub(crate) purge: bool,
    /// Do not ask
    #[arg(long, short, requires = "purge")]
    pub(crate) yes: bool,
}

/// Of `rgrid api`.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// Listen on this address
    #[arg(long)]
    host: Option<String>,
    /// Listen on this port
    #[arg(long)]
    port: Option<u16>,
}

impl ApiArgs {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let host = self.host.clone().map(|text| Flag { key: "api.host", flag: "--host", text });
        let port = self.port.map(|port| Flag { key: "api.port", flag: "--port", text: port.to_string() });
        host.into_iter().chain(port).collect()
    }
}

/// Of `rgrid runner`.
#[derive(Debug, Args)]
pub(crate) struct RunnerArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    /// The grid's address
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// Read the join token from this file (`-`: the first line of standard input)
    #[arg(long, value_name = "FILE")]
    join_token_file: Option<String>,
    /// Keep workspaces and caches here
    #[arg(long, value_name = "DIR")]
    data_folder: Option<String>,
    /// Run this many executions at once; else one per core
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// The worker is the user's own machine
    #[arg(long, hide = true, requires = "parent")]
    pub(crate) embedded: bool,
    /// End with this process
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) parent: Option<i32>,
}

impl RunnerArgs {
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let flag = |key, flag, text: &Option<String>| text.clone().map(|text| Flag { key, flag, text });
        let slots = self.slots.map(|slots| slots.to_string());
        [
            flag("runner.api_url", "--api-url", &self.api_url),
            flag("runner.join_token_file", "--join-token-file", &self.join_token_file),
            flag("runner.data_folder", "--data-folder", &self.data_folder),
            flag("runner.slots", "--slots", &slots),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Of `rgrid simulate`.
#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Jobs in the Standard Workload Format, plain or gzipped; a job of n processors is min(n, 8) executions of one CPU
    #[arg(long, value_name = "FILE", required_unless_present = "seed")]
    pub(crate) trace: Option<PathBuf>,
    /// Whose servers and executions are drawn and told as JSON: hour-edge, earlier or keep-alive; all are compared
    #[arg(long, default_value = "hour-edge")]
    policy: Policy,
    /// Let queued work wait so long for a place on what is already paid before a server is bought for it
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u32,
    /// Servers at once
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_workers: u32,
    /// CPUs of a server
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus_per_worker: u32,
    /// A started hour of a server
    #[arg(long, value_name = "EUR_PER_HOUR", default_value = "0.0312")]
    price: Price,
    /// From the order of a server to its first execution
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    boot: u32,
    /// Without --trace: play the trace that is drawn from these random numbers, the same one each time; a trace that is
    /// given needs none
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw servers and executions over time into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

impl SimulateArgs {
    /// The world that is simulated.
    pub(crate) fn setup(&self) -> Setup {
        Setup {
            policy: self.policy,
            patience: Duration::from_secs(self.patience.into()),
            workers_max: self.max_workers,
            cpus_per_worker: self.cpus_per_worker,
            price: self.price,
            boot: Duration::from_secs(self.boot.into()),
        }
    }
}

/// Of `rgrid admin`.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(subcommand)]
    pub(crate) command: AdminCommand,
}

/// What can be done from the grid's own host.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Make a key, and print its secret once: the first one of a grid, above all
    Key {
        /// A name for people
        #[arg(default_value = "admin")]
        name: String,
        /// The account it is for
        #[arg(long, default_value = rgrid_store::accounts::DEFAULT_ACCOUNT)]
        account: String,
        /// What it may do: admin or member
        #[arg(long, default_value = "admin", value_parser = role)]
        role: rgrid_store::keys::Role,
    },
    /// List accounts, or make one
    Accounts {
        /// Make an account of this name
        #[arg(long, value_name = "NAME")]
        create: Option<String>,
    },
    /// Print a token with which one machine may join as a worker
    JoinToken,
    /// Say that the database was restored from a backup: for 30 minutes unknown servers are reported, not deleted
    Restored,
    /// Show every setting, and where it comes from
    Settings,
}

/// Of `rgrid cloud`.
#[derive(Debug, Args)]
pub(crate) struct CloudArgs {
    #[command(flatten)]
    pub(crate) service: ServiceArgs,
    #[command(subcommand)]
    pub(crate) command: CloudCommand,
}

/// What can be done about servers.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CloudCommand {
    /// List every billed server of this grid with its owner; fails when one has none
    Audit,
    /// Stop all spending: nothing is bought, idle servers go now, busy ones when their work is done
    Stop,
    /// Allow it again
    Resume,
}

fn role(text: &str) -> Result<rgrid_store::keys::Role, String> {
    match text.parse()? {
        role @ (rgrid_store::keys::Role::Admin | rgrid_store::keys::Role::Member) => Ok(role),
        rgrid_store::keys::Role::Worker => {
            Err("workers get theirs by joining: `rgrid admin join-token`".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_flag_of_a_role_names_the_setting_it_goes_before() {
        let line = CommandLine::try_parse_from(["rgrid", "api", "--port", "9"]).unwrap();
        let Entry::Api(args) = line.entry else { panic!("that was `rgrid api`") };
        let flags: Vec<String> =
            args.flags().iter().map(|f| format!("{}={} by {}", f.key, f.text, f.flag)).collect();
        assert_eq!(flags, ["api.port=9 by --port"]);
    }
}

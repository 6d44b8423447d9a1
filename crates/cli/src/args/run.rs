//! The options of `rgrid run`. Everything after SCRIPT, or after `-m MODULE`, belongs to the script, unchanged.

use std::time::Duration;

use clap::{Args, ValueEnum};
use rgrid_core::runtime::{ImageName, Python, Runtime};

/// What Ctrl-C does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInterrupt {
    /// The execution goes on; the command ends.
    Detach,
    /// The execution is ended, as Python would be.
    Cancel,
}

/// Of `rgrid run`.
#[derive(Debug, Args)]
#[command(
    override_usage = "rgrid run [OPTIONS] SCRIPT [ARGS]...\n       rgrid run [OPTIONS] -m MODULE [ARGS]...",
    after_help = "Everything after SCRIPT or MODULE belongs to the script, as with `python`.\n\
        Files that arguments and the script name travel by themselves; files it writes come back.\n\
        Try `rgrid run --dry-run SCRIPT` to see what would travel."
)]
pub struct RunArgs {
    /// The Python to run it with, such as 3.12, or an image of `rgrid runtimes`
    #[arg(long, value_name = "PYTHON", value_parser = runtime, help_heading = "The machine")]
    pub(crate) runtime: Option<Runtime>,
    /// Run it in this container image, with the Python in it
    #[arg(long, value_name = "NAME", value_parser = image, conflicts_with = "runtime", help_heading = "The machine")]
    pub(crate) image: Option<ImageName>,
    /// CPUs it may use, such as 2, 0.5 or 500m
    #[arg(long, value_name = "CPUS", value_parser = cpu, help_heading = "The machine")]
    pub(crate) cpu: Option<u32>,
    /// Memory it may use, such as 512M or 3G
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "The machine")]
    pub(crate) memory: Option<u64>,
    /// Disk it may use
    #[arg(long, value_name = "SIZE", value_parser = bytes, help_heading = "The machine")]
    pub(crate) disk: Option<u64>,
    /// How long it may run, such as 90, 10m or 1h30m
    #[arg(long, value_name = "TIME", value_parser = super::duration, help_heading = "The machine")]
    pub(crate) timeout: Option<Duration>,
    /// Lost machines it survives
    #[arg(long, value_name = "N", help_heading = "The machine")]
    pub(crate) retries: Option<u32>,
    /// Exit codes after which it is tried again, such as 75 or 1,75
    #[arg(long, value_name = "CODES", value_delimiter = ',', help_heading = "The machine")]
    pub(crate) retry_on: Vec<u8>,
    /// Higher goes first, -100 to 100
    #[arg(long, value_name = "N", allow_negative_numbers = true, help_heading = "The machine")]
    pub(crate) priority: Option<i16>,
    /// Cut it off from every network
    #[arg(long, help_heading = "The machine")]
    pub(crate) no_network: bool,

    /// Install what this requirements file lists, whatever else declares packages
    #[arg(long, value_name = "FILE", help_heading = "Packages")]
    pub(crate) requirements: Vec<String>,
    /// Choose the versions of packages anew
    #[arg(long, help_heading = "Packages")]
    pub(crate) upgrade: bool,

    /// Send this file or folder too
    #[arg(long, value_name = "PATH", help_heading = "Files")]
    pub(crate) input: Vec<String>,
    /// Do not send this file or folder
    #[arg(long, value_name = "PATH", help_heading = "Files")]
    pub(crate) no_input: Vec<String>,
    /// Send what matches this pattern, below the project
    #[arg(long, value_name = "GLOB", help_heading = "Files")]
    pub(crate) include: Vec<String>,
    /// Bring back this file or folder too
    #[arg(long, value_name = "PATH", help_heading = "Files")]
    pub(crate) output: Vec<String>,
    /// Put what comes back into this folder instead of where the script wrote it
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(crate) output_dir: Option<String>,
    /// Send however much there is, without asking
    #[arg(long, short = 'y', help_heading = "Files")]
    pub(crate) yes: bool,

    /// Copy this environment variable, or set it
    #[arg(long, value_name = "K[=V]", help_heading = "The script's surroundings")]
    pub(crate) env: Vec<String>,
    /// Set the variables of this file of K=V lines
    #[arg(long, value_name = "FILE", help_heading = "The script's surroundings")]
    pub(crate) env_file: Vec<String>,
    /// Send nothing to its standard input
    #[arg(long, short = 'n', help_heading = "The script's surroundings")]
    pub(crate) no_stdin: bool,

    /// Print the execution's id and do not wait for it
    #[arg(long, short, help_heading = "The command")]
    pub(crate) detach: bool,
    /// Take output and files of an identical run that has completed, and run nothing
    #[arg(long, help_heading = "The command")]
    pub(crate) reuse: bool,
    /// Run it whatever ran before
    #[arg(long, help_heading = "The command")]
    pub(crate) no_cache: bool,
    /// What Ctrl-C does [default: cancel on this machine's own grid, else detach]
    #[arg(long, value_name = "WHAT", help_heading = "The command")]
    pub(crate) on_interrupt: Option<OnInterrupt>,
    /// Show what would travel, and why; send nothing
    #[arg(long, help_heading = "The command")]
    pub(crate) dry_run: bool,
    /// A name to find it by
    #[arg(long, help_heading = "The command")]
    pub(crate) name: Option<String>,
    /// A label to find it by
    #[arg(long, value_name = "K=V", help_heading = "The command")]
    pub(crate) metadata: Vec<String>,

    #[command(flatten)]
    pub(crate) later: LaterOptions,

    /// Run this module, as `python -m` does
    #[arg(short, long, value_name = "MODULE", num_args = 1.., allow_hyphen_values = true, help_heading = "The script")]
    pub(crate) module: Vec<String>,
    /// The script, and its own arguments
    #[arg(
        value_name = "SCRIPT",
        trailing_var_arg = true,
        required_unless_present = "module",
        help_heading = "The script"
    )]
    pub(crate) script: Vec<String>,
}

/// Options of the contract that this version refuses by name, so that nobody wonders whether they worked.
#[derive(Debug, Default, Args)]
pub(crate) struct LaterOptions {
    #[arg(long, hide = true)]
    secret: Vec<String>,
    #[arg(long, hide = true)]
    remote_only: bool,
    #[arg(long, hide = true)]
    max_cost: Option<String>,
    #[arg(long, hide = true)]
    notify: Option<String>,
    #[arg(long, hide = true)]
    gpu: bool,
}

impl LaterOptions {
    /// The first one that was given, as it was typed.
    pub(crate) fn first(&self) -> Option<&'static str> {
        [
            (!self.secret.is_empty(), "--secret"),
            (self.remote_only, "--remote-only"),
            (self.max_cost.is_some(), "--max-cost"),
            (self.notify.is_some(), "--notify"),
            (self.gpu, "--gpu"),
        ]
        .into_iter()
        .find_map(|(given, option)| given.then_some(option))
    }
}

/// A Python, or what can only be the short name of an image.
fn runtime(text: &str) -> Result<Runtime, String> {
    let error = match text.parse::<Python>() {
        Ok(python) => return Ok(Runtime::Python(python)),
        Err(error) => error.to_string(),
    };
    let version = text.strip_prefix("python").unwrap_or(text).trim_start_matches(':');
    if version.is_empty() || version.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(error);
    }
    text.parse().map(Runtime::Image).map_err(|_| error)
}

fn image(text: &str) -> Result<ImageName, String> {
    text.parse().map_err(|error: rgrid_core::runtime::NoImageName| error.to_string())
}

fn cpu(text: &str) -> Result<u32, String> {
    rgrid_core::quantity::parse_cpu(text).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<u64, String> {
    rgrid_core::quantity::parse_bytes(text).map_err(|error| error.to_string())
}

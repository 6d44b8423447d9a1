//! `hetzner-sim`: the stand-in as a command.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use hetzner_sim::{Guests, Options, Pace, Profile, Stand, Token};

/// A stand-in for the Hetzner Cloud API. Control lies under /_sim/.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8399")]
    listen: SocketAddr,
    /// Who may come in: `TOKEN`, `PROJECT=TOKEN`, or either with `:ro` after it for one that may only read. Repeatable.
    #[arg(long = "token", required = true)]
    tokens: Vec<String>,
    /// Which year's shapes are spoken.
    #[arg(long, value_enum, default_value_t = ProfileName::Y2026)]
    profile: ProfileName,
    /// What a server is.
    #[arg(long, value_enum, default_value_t = ServersName::Pretend)]
    servers: ServersName,
    /// With `--servers process`: what `sh -c` runs while a server is on.
    #[arg(long, required_if_eq("servers", "process"))]
    command: Option<String>,
    /// With `--servers container`: the image's name in the engine.
    #[arg(long, default_value = "hetzner-sim:debian")]
    image: String,
    /// With `--servers container`: the engine's address.
    #[arg(long)]
    engine: Option<String>,
    /// Seconds that pass in a real second; 0 is a clock that only moves when /_sim/clock steps it.
    #[arg(long, default_value_t = 1)]
    speed: u32,
    /// Ids, addresses and durations come from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keeps the state in this file and goes on from it.
    #[arg(long)]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ProfileName {
    #[value(name = "2026")]
    Y2026,
    #[value(name = "2025-compat")]
    Compat2025,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ServersName {
    Pretend,
    Process,
    Container,
}

fn read_token(text: &str) -> Token {
    let (rest, read_only) = text.strip_suffix(":ro").map_or((text, false), |rest| (rest, true));
    let (project, token) = rest.split_once('=').unwrap_or(("default", rest));
    Token { token: token.to_owned(), project: project.to_owned(), read_only }
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let guests = match arguments.servers {
        ServersName::Pretend => Guests::Pretend,
        ServersName::Process => Guests::Process { command: arguments.command.unwrap_or_default() },
        ServersName::Container => Guests::Container { image: arguments.image, engine: arguments.engine },
    };
    let stand = Stand::start(Options {
        listen: arguments.listen,
        tokens: arguments.tokens.iter().map(|text| read_token(text)).collect(),
        profile: match arguments.profile {
            ProfileName::Y2026 => Profile::Y2026,
            ProfileName::Compat2025 => Profile::Compat2025,
        },
        pace: if arguments.speed == 0 { Pace::Stepped } else { Pace::Running { speed: arguments.speed } },
        seed: arguments.seed,
        guests,
        state: arguments.state,
        ..Options::default()
    })
    .await?;
    tracing::info!(endpoint = stand.endpoint(), "the stand-in answers");
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = tokio::signal::ctrl_c() => done.context("wait for the signal to end")?,
        _ = term.recv() => {}
    }
    stand.stop().await;
    Ok(())
}

//! The parts of the embedded grid, wired: store, API, orchestrator with runners of this machine, and the duties of
//! a grid that nobody operates (it stops when idle, and stays within its share of the disk).

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context as _;
use rgrid_core::fleet::FleetPolicy;
use rgrid_core::id::AccountId;
use rgrid_core::runtime::SandboxKind;
use rgrid_orchestrator::cloud::local::{Local, RunnerCommand};
use rgrid_store::keys::Role;
use rgrid_store::objects::ObjectsConfig;
use rgrid_store::{Store, StoreConfig};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::address::{Notice, VERSION};
use super::daemon::Attachment;
use super::home::{Home, write_private};
use super::process::Process;
use super::sandbox::{self, Wait};
use super::{idle, postgres, start, weight};
use crate::config::{EmbeddedConfig, SandboxWish};
use crate::shutdown;

/// Connections that are left to a person with `psql`.
const CONNECTIONS_SPARE: u32 = 8;
/// The orchestrator's name among the orchestrators of its grid. The home's lock says that there is no other, so a
/// new daemon need not wait until the term of a killed one runs out.
const HOLDER: &str = "embedded";
/// The name of the key that the commands of this machine use.
const KEY_NAME: &str = "this machine";
/// A part that was told to end may take this long.
const PART_PATIENCE: Duration = Duration::from_secs(30);

/// Why the grid ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By a signal.
    Told,
    /// There was nothing to do for long enough.
    Idle,
    /// A newer version asked, and nothing runs any more.
    Replaced,
}

/// What the parts need to know.
#[derive(Debug)]
pub(crate) struct Grid {
    pub(crate) home: Home,
    pub(crate) config: EmbeddedConfig,
    pub(crate) attachment: Attachment,
    pub(crate) ourselves: Process,
    pub(crate) database_url: String,
    /// Ends the grid in order.
    pub(crate) stop: CancellationToken,
}

/// What needs no database and takes its time: made while PostgreSQL starts.
#[derive(Debug)]
pub(crate) struct Ahead {
    listener: TcpListener,
    address: SocketAddr,
    local: Local,
    /// The runner finds out what isolates scripts here.
    sandbox: Wait,
}

impl Ahead {
    /// Takes the address; connections wait until the API serves it. A grid that a command started will have work in a
    /// moment: a runner makes its sandbox ready.
    pub(crate) async fn make(
        home: &Home,
        config: &EmbeddedConfig,
        ourselves: Process,
        attachment: Attachment,
    ) -> anyhow::Result<Self> {
        let mut sandbox = sandbox::at_start(home, config.sandbox)?;
        let (listener, address) = listen(home).await?;
        let local = Local::new(runner_command(home, ourselves, &format!("http://{address}")));
        let wanted = attachment == Attachment::Background || matches!(sandbox, Wait::For(_));
        if wanted && let Err(error) = local.start_ahead() {
            sandbox = Wait::No;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no runner ahead of the first execution"
            );
        }
        Ok(Self { listener, address, local, sandbox })
    }
}

impl Grid {
    /// Serves until it has a reason to end; on return everything that it started has ended.
    pub(crate) async fn serve(self, ahead: Ahead) -> anyhow::Result<Ended> {
        let Ahead { listener, address, local, sandbox } = ahead;
        let stop = self.stop.clone();
        shutdown::cancel_on_signals(stop.clone())?;
        let mut replace = signal(SignalKind::user_defined1())?;
        let store = self.open_store().await?;
        let account = store.default_account().await?.id;
        let key = self.key(&store, account).await?;
        sandbox.end(&self.home).await;
        let url = format!("http://{address}");

        let policy = self.policy()?;
        let (api_stop, fleet_stop) = (CancellationToken::new(), CancellationToken::new());
        let api_config = rgrid_server::Config {
            public_url: None,
            version: VERSION.to_owned(),
            bounds: rgrid_server::Bounds::default(),
            largest_type: Some(policy.new_worker),
            images: rgrid_core::runtime::Images::Own,
            sandbox: match self.config.sandbox {
                SandboxWish::Only(kind) => kind,
                // Commands that find containers here ask for their image by name.
                SandboxWish::Auto => SandboxKind::Process,
            },
            docker: rgrid_server::Docker::Here(self.config.docker_socket.clone()),
        };
        let mut api = tokio::spawn(rgrid_server::run(api_config, store.clone(), listener, api_stop.clone()));
        let retire = CancellationToken::new();
        let fleet_config = rgrid_orchestrator::Config {
            holder: HOLDER.to_owned(),
            policy,
            retire: retire.clone(),
            spending: rgrid_orchestrator::Spending::On,
            period: rgrid_orchestrator::Period::default(),
        };
        let mut fleet =
            tokio::spawn(rgrid_orchestrator::run(fleet_config, store.clone(), local, fleet_stop.clone()));

        let notice = Notice { url: url.clone(), key, process: self.ourselves, version: VERSION.to_owned() };
        notice.write(&self.home).context("the grid's address cannot be written down")?;
        tracing::info!(%url, home = ?self.home.root(), "ready");

        let result = tokio::select! {
            () = stop.cancelled() => Ok(Ended::Told),
            () = idle::wait(&store, account, address.port(), self.config.idle),
                if self.attachment == Attachment::Background => Ok(Ended::Idle),
            () = idle::after_replacement(&store, account, &mut replace, &retire) => Ok(Ended::Replaced),
            () = weight::keep(&store, &self.home, &self.config) => unreachable!("this duty has no end"),
            ended = &mut api => Err(part_ended("API", ended)),
            ended = &mut fleet => Err(part_ended("orchestrator", ended)),
        };
        // Nobody new comes; then the workers hand back what they hold, for which they need the API.
        Notice::remove(&self.home.notice());
        fleet_stop.cancel();
        end("orchestrator", &mut fleet).await;
        api_stop.cancel();
        end("API", &mut api).await;
        store.close().await;
        result
    }

    async fn open_store(&self) -> anyhow::Result<Store> {
        let config = StoreConfig {
            database_url: self.database_url.clone(),
            objects: ObjectsConfig::Folder(self.home.objects()),
            vault_key_file: self.home.vault_key(),
            max_connections: postgres::CONNECTIONS_MAX - CONNECTIONS_SPARE,
            application_name: "rgrid up".to_owned(),
        };
        let store = Store::connect(&config).await?;
        if !store.migrations_missing().await?.is_empty() {
            let applied = store.migrate().await?;
            tracing::info!(?applied, "the database is up to date");
        }
        Ok(store)
    }

    /// The key of the commands on this machine: the one of last time, while the database knows it.
    async fn key(&self, store: &Store, account: AccountId) -> anyhow::Result<String> {
        if let Ok(key) = fs::read_to_string(self.home.key())
            && let Some(principal) = store.authenticate(&key).await?
            && principal.role == Role::Admin
        {
            return Ok(key);
        }
        let (_, secret) = store.create_key(account, KEY_NAME, Role::Admin).await?;
        write_private(&self.home.key(), secret.as_bytes()).context("the key cannot be written down")?;
        Ok(secret)
    }

    /// One worker, which has all of this machine.
    fn policy(&self) -> anyhow::Result<FleetPolicy> {
        let machine =
            rgrid_runner::machine::look(&self.home.workers()).context("this machine cannot be measured")?;
        let policy = FleetPolicy::embedded(machine.capacity, machine.cores);
        // A worker that waits for work keeps the grid busy: it must leave no later than the grid wants to.
        Ok(FleetPolicy { local_idle: policy.local_idle.min(self.config.idle), ..policy })
    }
}

/// On loopback, at the port of last time if it is free.
async fn listen(home: &Home) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let last = fs::read_to_string(home.port()).ok().and_then(|text| text.trim().parse::<u16>().ok());
    let listener = match TcpListener::bind(loopback(last.unwrap_or(0))).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(loopback(0)).await.context("no port of 127.0.0.1 can be used")?,
    };
    let address = listener.local_addr()?;
    if last != Some(address.port()) {
        write_private(&home.port(), address.port().to_string().as_bytes())?;
    }
    Ok((listener, address))
}

fn runner_command(home: &Home, ourselves: Process, url: &str) -> RunnerCommand {
    // Through /proc the running program is meant, also after an update has replaced its file.
    let program = format!("/proc/{}/exe", ourselves.pid).into();
    let mut args: Vec<std::ffi::OsString> = vec!["runner".into(), "--embedded".into()];
    args.extend(["--parent".into(), ourselves.pid.to_string().into()]);
    args.extend(["--api-url".into(), url.into()]);
    args.extend(["--join-token-file".into(), "-".into()]);
    args.extend(["--data-folder".into(), home.workers().into()]);
    RunnerCommand { program, args, environment: start::kept_environment() }
}

type PartResult<E> = Result<Result<(), E>, tokio::task::JoinError>;

fn part_ended<E: std::error::Error + Send + Sync + 'static>(
    part: &str,
    ended: PartResult<E>,
) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow::anyhow!("the {part} ended by itself"),
        Ok(Err(error)) => anyhow::Error::new(error).context(format!("the {part} failed")),
        Err(error) => anyhow::Error::new(error).context(format!("the {part} panicked")),
    }
}

/// Waits for a part that was told to end.
async fn end<E>(part: &str, task: &mut tokio::task::JoinHandle<Result<(), E>>) {
    if task.is_finished() {
        return;
    }
    if tokio::time::timeout(PART_PATIENCE, &mut *task).await.is_err() {
        tracing::warn!(part, "did not end in time");
        task.abort();
    }
}

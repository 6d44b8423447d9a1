//! All that survives a restart: PostgreSQL rows, and objects in S3 or a folder.
//!
//! One noun, one file; each adds its verbs to [`Store`]. SQL lives in `queries/NOUN/VERB.sql`. Nothing is decided
//! here: which step is legal and what becomes of a lost attempt come from `rgrid-core`.

pub mod accounts;
mod admission;
pub mod artifacts;
pub mod attempts;
pub mod blobs;
pub mod census;
pub mod claim;
mod combined_cache;
mod dependencies;
pub mod dependency_cache;
pub mod directives;
pub mod durations;
mod endings;
pub mod environment_logs;
mod error;
pub mod executions;
pub mod fleet;
pub mod follows;
#[doc(hidden)]
pub mod fuzzing;
mod generation;
mod guards;
pub mod idempotency;
pub mod keys;
pub mod leadership;
mod log_ranges;
mod log_reading;
pub mod logs;
pub mod market;
mod migrations;
mod named_blobs;
pub mod notify;
pub mod objects;
pub mod outages;
mod outcome;
pub mod queue;
pub mod retention;
mod row;
mod secret;
pub mod servers;
pub mod spending;
pub mod stdin;
pub mod steering;
mod submissions;
pub mod testing;
pub mod uploads;
pub mod vault;
pub mod workers;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::id::GridId;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use tokio::sync::{OnceCell, broadcast};

pub use error::{Error, Result};
use notify::{Notifier, Nudge};
use objects::{Objects, ObjectsConfig};
use vault::Vault;

/// No statement takes longer (SEMANTICS section 11).
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// No transaction of ours waits for us longer than this.
pub const IDLE_IN_TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A call waits this long for a connection of the pool.
pub const CONNECTION_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps: more than there are queries.
const STATEMENTS_CACHED: usize = 256;
/// A connection that idled for longer is tried before it is used.
const TRUSTED_FOR: Duration = Duration::from_millis(500);
/// Connections of a pool unless it is told otherwise.
pub const CONNECTIONS: u32 = 10;

/// Where everything lies.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `postgres://...`, or with `?host=/socket/folder`.
    pub database_url: String,
    /// Where objects lie.
    pub objects: ObjectsConfig,
    /// The key file of the vault; made on first start.
    pub vault_key_file: PathBuf,
    /// Connections of the pool.
    pub max_connections: u32,
    /// What `pg_stat_activity` shows: the role, as `rgrid api`.
    pub application_name: String,
}

/// The handle to everything that is stored. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    objects: Objects,
    vault: Vault,
    notifier: Notifier,
    grid_id: OnceCell<GridId>,
    /// When this process last looked for empty lanes, in milliseconds of Unix time.
    lanes_retired_ms: AtomicU64,
    /// The generations of what runs and of what waits.
    generations: generation::Generations,
}

impl Store {
    /// Opens the pool, the objects and the vault. Needs a database that answers, not one that is migrated.
    pub async fn connect(config: &StoreConfig) -> Result<Self> {
        let options = connect_options(&config.database_url, &config.application_name)?;
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections.max(2))
            .acquire_timeout(CONNECTION_WAIT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| Box::pin(still_open(connection, meta.idle_for)))
            .connect_with(options.clone())
            .await?;
        let objects = Objects::open(&config.objects)?;
        let vault = Vault::open(&config.vault_key_file)?;
        let notifier = Notifier::start(options);
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                objects,
                vault,
                notifier,
                grid_id: OnceCell::new(),
                lanes_retired_ms: AtomicU64::new(0),
                generations: generation::Generations::default(),
            }),
        })
    }

    /// Fails when the database does not answer.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query(include_str!("../queries/grid/ping.sql")).execute(self.pool()).await?;
        Ok(())
    }

    /// Fails when objects cannot be read and written.
    pub async fn check_objects(&self) -> Result<()> {
        Ok(self.objects().check().await?)
    }

    /// PostgreSQL's clock: the one that decides about leases and deadlines.
    pub async fn now(&self) -> Result<Timestamp> {
        Ok(sqlx::query_scalar(include_str!("../queries/grid/now.sql")).fetch_one(self.pool()).await?)
    }

    /// The grid's id, made by `migrate`.
    pub async fn grid_id(&self) -> Result<GridId> {
        self.inner.grid_id.get_or_try_init(|| self.read_grid_id()).await.copied()
    }

    /// What other parts of this process, and other processes, have just changed. A receiver that lags behind
    /// treats that as a nudge of every kind; a lost one is covered by polling (`limits::POLL_FALLBACK`).
    pub fn nudges(&self) -> broadcast::Receiver<Nudge> {
        self.inner.notifier.subscribe()
    }

    /// Keys for `purpose`, derived from the vault's: every replica has the same. The first is the newest; the others
    /// are there to check what was made with them. Never empty.
    pub fn derived_keys(&self, purpose: &str) -> Vec<[u8; 32]> {
        self.vault().derived_keys(purpose)
    }

    /// Closes the pool; what runs may end first.
    pub async fn close(&self) {
        self.inner.pool.close().await;
    }

    pub(crate) fn generations(&self) -> &generation::Generations {
        &self.inner.generations
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// Tells this process at once and others within `limits::NOTIFY_PERIOD`. Call it after the commit, never before.
    /// A transaction.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        self.begin_with(None).await
    }

    /// A transaction that begins with another statement. It begins on a task of its own: a caller that is dropped while
    /// PostgreSQL answers, because its client hung up, would else leave a connection in the pool inside a transaction that
    /// nobody knows of, and what the next caller writes on it might never be committed.
    pub(crate) async fn begin_with(
        &self,
        statement: Option<&'static str>,
    ) -> Result<Transaction<'static, Postgres>> {
        let pool = self.pool().clone();
        let begun = tokio::spawn(async move {
            match statement {
                Some(statement) => pool.begin_with(statement).await,
                None => pool.begin().await,
            }
        });
        Ok(begun.await.map_err(|_| sqlx::Error::WorkerCrashed)??)
    }

    pub(crate) fn nudge_if(&self, changed: bool, nudge: Nudge) {
        if changed {
            self.nudge(nudge);
        }
    }

    pub(crate) fn nudge(&self, nudge: Nudge) {
        self.inner.notifier.nudge(nudge);
    }
}

/// A connection that was used a moment ago is not asked whether it is still there: the question costs a round trip per
/// call. One that has idled is, so that a restart of the database breaks no call after it.
async fn still_open(connection: &mut PgConnection, idle: Duration) -> sqlx::Result<bool> {
    if idle >= TRUSTED_FOR {
        connection.ping().await?;
    }
    Ok(true)
}

/// Connection settings that every role shares (SEMANTICS section 11).
fn connect_options(url: &str, application_name: &str) -> Result<PgConnectOptions> {
    let options: PgConnectOptions = url.parse()?;
    Ok(options.application_name(application_name).statement_cache_capacity(STATEMENTS_CACHED).options([
        ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT.as_millis().to_string()),
        // Every query of ours has its index. A plan that was made while a table was small is kept, and must not become a
        // walk through a million rows.
        ("enable_seqscan", "off".to_owned()),
        // Planning a claim anew each time costs more than the claim (half of PostgreSQL's CPU time for an execution). The
        // plans of all hot queries are such generic ones in the tests too.
        ("plan_cache_mode", "force_generic_plan".to_owned()),
        // Short transactional statements: compiling them costs more than it gives.
        ("jit", "off".to_owned()),
    ]))
}

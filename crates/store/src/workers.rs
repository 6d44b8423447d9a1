//! Workers: joining, heartbeats, and the list for people.

use std::time::Duration;

use rgrid_core::id::WorkerId;
use rgrid_core::worker::{Capacity, LimitGrade, WorkerStatus, WorkerStep, sources};
use rgrid_core::{Timestamp, limits, sizes};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::directives::{self, Directives, Held, HeldColumns};
use crate::notify::Nudge;
use crate::row::{self, Columns};
use crate::{Error, Result, Store, guards, keys, market, secret};

/// How a worker isolates and limits, as its probe found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// `process` or `docker`.
    pub kind: String,
    /// `veth`, `pasta` or `none`.
    pub network: String,
    /// For memory, CPU and processes.
    pub limits: LimitGrade,
    /// For disk.
    pub disk: LimitGrade,
}

/// What a runner says when it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRow {
    /// The single-use token.
    pub token: String,
    /// Drawn once by the runner.
    pub nonce: String,
    /// The runner's version.
    pub version: String,
    /// Its machine's name.
    pub hostname: String,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: Capacity,
    /// How it isolates.
    pub sandbox: SandboxRow,
    /// It can run container images as well.
    pub docker: bool,
}

/// One worker's heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRow {
    /// Whose.
    pub worker_id: WorkerId,
    /// Every attempt that the runner holds: only named ones keep their leases.
    pub holding: Vec<Held>,
}

/// A worker, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerRow {
    /// Its id.
    pub id: WorkerId,
    /// Where it stands.
    pub status: WorkerStatus,
    /// What stands behind it: `local`, `static`, or a cloud provider's name.
    pub provider: String,
    /// Its machine's name; empty before it joined.
    pub hostname: String,
    /// Its version; empty before it joined.
    pub version: String,
    /// Attempts it runs.
    pub running: u32,
    /// Attempts it can run at once.
    pub slots: u32,
    /// What it has for attempts.
    pub capacity: Capacity,
    /// How it isolates; `None` before it joined.
    pub sandbox: Option<SandboxRow>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was last heard of.
    pub last_heartbeat_at: Option<Timestamp>,
    /// Why it is in this state, in a sentence.
    pub reason: Option<String>,
}

/// What a join token begins with.
pub(crate) const JOIN_PREFIX: &str = "rgj_";

impl Store {
    /// Makes a single-use token: for the given `provisioning` worker, or for a static one whose row the join makes.
    pub async fn create_join_token(&self, worker: Option<WorkerId>, ttl: Duration) -> Result<String> {
        let token = secret::draw(JOIN_PREFIX);
        write_token(&mut *self.pool().acquire().await?, &token, worker, ttl).await?;
        Ok(token)
    }

    /// Redeems a token. The same token with the same nonce gives a fresh credential until the first heartbeat.
    pub async fn join(&self, join: &JoinRow) -> Result<(WorkerId, String)> {
        if join.slots == 0 {
            return Err(Error::Invalid { field: "slots", reason: "must be at least 1".to_owned() });
        }
        let refused = || Error::Unauthorized { what: "join token" };
        let hash = secret::hash(&join.token);
        let mut transaction = self.begin().await?;
        let token = sqlx::query(guards::sql(
            &[&guards::JOIN_TOKEN_ONCE, &guards::JOIN_TOKEN_NONCE, &guards::JOIN_TOKEN_EXPIRY],
            include_str!("../queries/workers/lock_token.sql"),
        ))
        .bind(hash.as_slice())
        .bind(&join.nonce)
        .fetch_optional(&mut *transaction)
        .await?
        .ok_or_else(refused)?;
        let (fresh, repeated): (bool, bool) = (token.try_get("fresh")?, token.try_get("repeated")?);
        if !fresh && !repeated {
            return Err(refused());
        }
        let worker = match token.text_or_null("worker_id")? {
            Some(worker) => worker,
            None => make_static(&mut transaction).await?,
        };
        let credential = keys::draw_credential();
        let mut legal = statuses(WorkerStep::Join);
        if repeated {
            legal.push(WorkerStatus::Active.as_str());
        }
        let (slots, capacity) =
            market::hold_to_promise(&mut transaction, worker, join.slots, join.capacity).await?;
        let join = &JoinRow { slots, capacity, ..join.clone() };
        let joined = write_join(&mut transaction, worker, join, secret::hash(&credential), legal).await?;
        if !joined {
            return Err(refused());
        }
        sqlx::query(include_str!("../queries/workers/use_token.sql"))
            .bind(hash.as_slice())
            .bind(&join.nonce)
            .bind(worker.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.nudge(Nudge::Fleet);
        Ok((worker, credential))
    }

    /// Writes all heartbeats in one statement, renews the leases of named attempts, and answers each in order. A dead
    /// worker returns to active.
    pub async fn heartbeats(&self, batch: &[HeartbeatRow]) -> Result<Vec<Directives>> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let workers: Vec<(WorkerId, &[Held])> =
            batch.iter().map(|beat| (beat.worker_id, beat.holding.as_slice())).collect();
        let held = HeldColumns::of(&workers);
        let count = |beat: &HeartbeatRow| i32::try_from(beat.holding.len()).unwrap_or(i32::MAX);
        let mut transaction = self.begin().await?;
        sqlx::query(include_str!("../queries/workers/unlogged_commit.sql"))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(guards::sql(
            &[&guards::RENEW_WHAT_IS_NAMED],
            include_str!("../queries/workers/heartbeat.sql"),
        ))
        .bind(workers.iter().map(|(worker, _)| worker.to_string()).collect::<Vec<_>>())
        .bind(batch.iter().map(count).collect::<Vec<_>>())
        .bind(&held.ids)
        .bind(&held.numbers)
        .bind(&held.hashes)
        .bind(&held.workers)
        .bind(row::millis(limits::LEASE))
        .bind(row::millis(limits::LEASE_RENEW_BELOW))
        .bind(statuses(WorkerStep::Return))
        .execute(&mut *transaction)
        .await?;
        let answers = directives::read(&mut transaction, &workers).await?;
        transaction.commit().await?;
        Ok(answers)
    }

    /// The sizes of the workers that count for what can ever be held ([`sizes::counts`]), each once.
    pub async fn worker_sizes(&self) -> Result<Vec<Capacity>> {
        let counting: Vec<&str> = WorkerStatus::ALL
            .into_iter()
            .filter(|status| sizes::counts(*status))
            .map(WorkerStatus::as_str)
            .collect();
        let rows = sqlx::query(include_str!("../queries/workers/sizes.sql"))
            .bind(counting)
            .fetch_all(self.pool())
            .await?;
        rows.iter().map(capacity).collect()
    }

    /// Whether one of the workers that are there can run container images; `None` when none is there.
    pub async fn workers_have_docker(&self) -> Result<Option<bool>> {
        let counting: Vec<&str> = WorkerStatus::ALL
            .into_iter()
            .filter(|status| sizes::counts(*status))
            .map(WorkerStatus::as_str)
            .collect();
        Ok(sqlx::query_scalar(include_str!("../queries/workers/docker.sql"))
            .bind(counting)
            .fetch_one(self.pool())
            .await?)
    }

    /// Those that shall finish what they hold and leave.
    pub async fn workers_leaving(&self) -> Result<Vec<WorkerId>> {
        let rows = sqlx::query(include_str!("../queries/workers/leaving.sql")).fetch_all(self.pool()).await?;
        rows.iter().map(|row| row.text("id")).collect()
    }

    /// All that are not terminated, and those terminated within the last hour; oldest first.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>> {
        let rows = sqlx::query(include_str!("../queries/workers/list.sql")).fetch_all(self.pool()).await?;
        rows.iter().map(WorkerRow::read).collect()
    }
}

/// Statuses as the SQL guards take them.
pub(crate) fn statuses(step: WorkerStep) -> Vec<&'static str> {
    sources(step).into_iter().map(WorkerStatus::as_str).collect()
}

/// Writes a join token's hash.
pub(crate) async fn write_token(
    connection: &mut PgConnection,
    token: &str,
    worker: Option<WorkerId>,
    ttl: Duration,
) -> Result<()> {
    sqlx::query(include_str!("../queries/workers/make_token.sql"))
        .bind(secret::hash(token).as_slice())
        .bind(worker.map(|worker| worker.to_string()))
        .bind(row::millis(ttl))
        .execute(connection)
        .await?;
    Ok(())
}

async fn make_static(connection: &mut PgConnection) -> Result<WorkerId> {
    let worker = WorkerId::new(secret::unix_ms(), secret::random());
    sqlx::query(include_str!("../queries/workers/make_static.sql"))
        .bind(worker.to_string())
        .execute(connection)
        .await?;
    Ok(worker)
}

async fn write_join(
    connection: &mut PgConnection,
    worker: WorkerId,
    join: &JoinRow,
    credential_sha256: [u8; 32],
    legal: Vec<&'static str>,
) -> Result<bool> {
    let written =
        sqlx::query(guards::sql(&[&guards::JOIN_TOKEN_ONCE], include_str!("../queries/workers/join.sql")))
            .bind(worker.to_string())
            .bind(&join.hostname)
            .bind(&join.version)
            .bind(row::integer(join.slots))
            .bind(row::integer(join.capacity.cpu_millis))
            .bind(row::bigint(join.capacity.memory_bytes))
            .bind(row::bigint(join.capacity.disk_bytes))
            .bind(&join.sandbox.kind)
            .bind(&join.sandbox.network)
            .bind(join.sandbox.limits.as_str())
            .bind(join.sandbox.disk.as_str())
            .bind(credential_sha256.as_slice())
            .bind(legal)
            .bind(join.docker)
            .execute(connection)
            .await?;
    Ok(written.rows_affected() > 0)
}

/// Reads cores, memory and disk.
pub(crate) fn capacity(row: &PgRow) -> Result<Capacity> {
    Ok(Capacity {
        cpu_millis: row.number32("cpu_millis")?,
        memory_bytes: row.number64("memory_bytes")?,
        disk_bytes: row.number64("disk_bytes")?,
    })
}

impl WorkerRow {
    fn read(row: &PgRow) -> Result<Self> {
        let kind: Option<String> = row.try_get("sandbox")?;
        let sandbox = match kind {
            None => None,
            Some(kind) => Some(SandboxRow {
                kind,
                network: row.try_get("sandbox_network")?,
                limits: row.text("limits_grade")?,
                disk: row.text("disk_grade")?,
            }),
        };
        Ok(Self {
            id: row.text("id")?,
            status: row.text("status")?,
            provider: row.try_get("provider")?,
            hostname: row.try_get("hostname")?,
            version: row.try_get("version")?,
            running: u32::try_from(row.number64("running")?).unwrap_or(u32::MAX),
            slots: row.number32("slots")?,
            capacity: capacity(row)?,
            sandbox,
            created_at: row.try_get("created_at")?,
            last_heartbeat_at: row.try_get("last_heartbeat_at")?,
            reason: row.try_get("reason")?,
        })
    }
}

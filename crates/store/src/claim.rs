//! The claim: which queued executions go to which waiting polls. SEMANTICS section 2 is its specification.
//!
//! One transaction: the claim lock; then what the workers may take and the heads of the lanes, read in statements of
//! their own, younger than the lock; then `core::placement` decides; then one statement takes. Nobody else puts
//! anything into `running`, so what was counted still holds at the end.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;

use rgrid_core::execution::Step;
use rgrid_core::id::{AccountId, BatchId, ExecutionId, WorkerId};
use rgrid_core::money::paid_until;
use rgrid_core::placement::{self, Candidate, Load, Offer, Paid};
use rgrid_core::submission::Submission;
use rgrid_core::worker::Capacity;
use rgrid_core::{Timestamp, limits, sizes};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::attempts::{AttemptRow, AttemptState};
use crate::directives::DirectiveRow;
use crate::row::{self, Columns};
use crate::{Result, Store, guards, queue, secret};

/// Lanes of one account that one claim looks at, for each attempt that it could hand out: each holds at least one that
/// fits some worker, and the other may do where that one does not fit beside what was placed before it.
const LANES_PER_ATTEMPT: usize = 2;
/// And at least so many.
const LANES_MIN: usize = 8;
/// Lanes that are called empty in one round.
const LANES_RETIRED_MAX: i64 = 1000;
/// Lanes are looked through for empty ones this often.
const LANES_RETIRED_EVERY_MS: u64 = 5000;
/// The engine that places what is claimed here.
const PLACED_BY: &str = "pool";

/// A runner that waits for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Poll {
    /// Its worker.
    pub worker_id: WorkerId,
    /// Attempts it could start now.
    pub slots: u32,
    /// What it has left for them.
    pub free: Capacity,
}

/// An attempt that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// To whom.
    pub worker_id: WorkerId,
    /// The owner of the execution.
    pub account_id: AccountId,
    /// The attempt.
    pub attempt: AttemptRow,
    /// Proves, with the number, that a call is this attempt's. Only its hash is stored.
    pub token: String,
    /// What to run, with the values of its variables.
    pub submission: Submission,
    /// What is wanted of it: time-out, cancel, follow.
    pub directive: DirectiveRow,
}

/// What a claim brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// What was handed out.
    pub claimed: Vec<Claimed>,
    /// Sizes that nothing in the queue may be run in at present: a poll with no more than one of these gets nothing.
    pub barren: Vec<Capacity>,
}

/// A queued execution, where it stands in the queue, and what its lane says.
struct Head {
    now: Timestamp,
    lane_id: i64,
    age: Timestamp,
    running: u32,
    batch_room: Option<u32>,
    candidate: Candidate,
}

impl Store {
    /// Serves up to `limits::CLAIM_POLLS_MAX` polls in one transaction; polls beyond are not served. At most one poll
    /// per worker counts.
    pub async fn claim(&self, polls: &[Poll]) -> Result<Vec<Claimed>> {
        Ok(self.claim_or_barren(polls).await?.claimed)
    }

    /// The same, and for which sizes there was nothing to claim.
    pub async fn claim_or_barren(&self, polls: &[Poll]) -> Result<Claims> {
        let mut by_worker = BTreeMap::new();
        for poll in polls.iter().take(limits::CLAIM_POLLS_MAX).filter(|poll| poll.slots > 0) {
            by_worker.entry(poll.worker_id).or_insert(*poll);
        }
        if by_worker.is_empty() {
            return Ok(Claims::default());
        }
        let mut transaction = self.begin().await?;
        if guards::holds(&guards::CLAIM_LOCK) {
            lock(&mut transaction).await?;
        }
        let offers = offers(&mut transaction, &by_worker).await?;
        if offers.is_empty() {
            transaction.rollback().await?;
            return Ok(Claims::default());
        }
        let heads = heads(&mut transaction, &offers).await?;
        let Some(now) = heads.first().map(|head| head.now) else {
            // What is found barren by a worker without Docker may be none for one that has it.
            let for_some = offers.iter().any(|offer| !offer.docker) && images_wait(&mut transaction).await?;
            transaction.rollback().await?;
            let barren = offers.iter().filter(|offer| offer.docker || !for_some).map(|offer| offer.free);
            return Ok(Claims { claimed: Vec::new(), barren: sizes::largest(barren) });
        };
        let placed = placement::place(&offers, &candidates(&heads), &load(&heads), now);
        if placed.is_empty() {
            transaction.rollback().await?;
            return Ok(Claims::default());
        }
        let taken = take(&mut transaction, &heads, &placed).await?;
        transaction.commit().await?;
        self.retire_lanes_when_due();
        self.renew_generations_when_due(taken.len());
        Ok(Claims { claimed: self.claimed(taken).await?, barren: Vec::new() })
    }

    /// True when no claim can bring anything.
    pub async fn nothing_queued(&self) -> Result<bool> {
        Ok(sqlx::query_scalar(include_str!("../queries/claim/nothing_queued.sql"))
            .fetch_one(self.pool())
            .await?)
    }

    /// Reads what was handed out. After the commit: nobody else changes it, and the lock is not held for it. Should
    /// this fail, the attempts go back to the queue as unnamed.
    async fn claimed(&self, taken: Vec<Taken>) -> Result<Vec<Claimed>> {
        let ids: Vec<ExecutionId> = taken.iter().map(|taken| taken.attempt.execution_id).collect();
        let mut submissions = self.submissions(&mut *self.pool().acquire().await?, &ids).await?;
        let mut claimed = Vec::with_capacity(taken.len());
        for Taken { attempt, token, directive } in taken {
            // Deleted between the commit and here: whoever did that wants it not to run.
            let Some((account_id, submission)) = submissions.remove(&attempt.execution_id) else { continue };
            let worker_id = attempt.worker_id;
            claimed.push(Claimed { worker_id, account_id, attempt, token, submission, directive });
        }
        Ok(claimed)
    }

    /// Looks for empty lanes now and then, beside the claims that it makes faster.
    fn retire_lanes_when_due(&self) {
        let now = secret::unix_ms();
        let due = |at: u64| now.saturating_sub(at) >= LANES_RETIRED_EVERY_MS;
        let last = self.inner.lanes_retired_ms.load(Ordering::Relaxed);
        let mine = || {
            self.inner
                .lanes_retired_ms
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if !due(last) || !mine() {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.retire_lanes().await {
                tracing::warn!(%error, "empty lanes could not be retired");
            }
        });
    }

    /// Calls lanes empty that are, so that claims need not look at them.
    pub async fn retire_lanes(&self) -> Result<u64> {
        let mut transaction = self.begin().await?;
        let looked_empty: Vec<i64> = sqlx::query_scalar(include_str!("../queries/claim/retire_lanes.sql"))
            .bind(LANES_RETIRED_MAX)
            .fetch_all(&mut *transaction)
            .await?;
        let retired = sqlx::query(include_str!("../queries/claim/empty_lanes.sql"))
            .bind(&looked_empty)
            .execute(&mut *transaction)
            .await?
            .rows_affected();
        transaction.commit().await?;
        Ok(retired)
    }
}

/// Holds the claim lock until the transaction ends.
pub(crate) async fn lock(connection: &mut PgConnection) -> Result<()> {
    sqlx::query(include_str!("../queries/claim/lock.sql"))
        .bind(queue::lock::CLAIM)
        .execute(connection)
        .await?;
    Ok(())
}

/// What the workers may take: what they say, and no more than what their rows say.
async fn offers(connection: &mut PgConnection, polls: &BTreeMap<WorkerId, Poll>) -> Result<Vec<Offer>> {
    let rows = sqlx::query(guards::sql(
        &[&guards::WORKER_CAPACITY, &guards::WORKER_ACTIVE],
        include_str!("../queries/claim/workers.sql"),
    ))
    .bind(polls.keys().map(ToString::to_string).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut offers = Vec::with_capacity(rows.len());
    for row in &rows {
        let worker: WorkerId = row.text("id")?;
        let Some(poll) = polls.get(&worker) else { continue };
        let whole = Capacity {
            cpu_millis: row.number32("cpu_millis")?,
            memory_bytes: row.number64("memory_bytes")?,
            disk_bytes: row.number64("disk_bytes")?,
        };
        let held_cpu = u32::try_from(row.number64("held_cpu_millis")?).unwrap_or(u32::MAX);
        let left = |whole: u64, held: u64, said: u64| whole.saturating_sub(held).min(said);
        let free = Capacity {
            cpu_millis: whole.cpu_millis.saturating_sub(held_cpu).min(poll.free.cpu_millis),
            memory_bytes: left(
                whole.memory_bytes,
                row.number64("held_memory_bytes")?,
                poll.free.memory_bytes,
            ),
            disk_bytes: left(whole.disk_bytes, row.number64("held_disk_bytes")?, poll.free.disk_bytes),
        };
        let held = u32::try_from(row.number64("held")?).unwrap_or(u32::MAX);
        let slots = row.number32("slots")?.saturating_sub(held).min(poll.slots);
        if slots > 0 {
            let (docker, paid) = (row.try_get("docker")?, paid(row)?);
            offers.push(Offer { worker, slots, free, whole, docker, paid });
        }
    }
    Ok(offers)
}

/// The hour that is paid of the server behind a worker; `None` where nobody bills.
fn paid(row: &PgRow) -> Result<Option<Paid>> {
    let Some(since) = row.try_get("paid_since")? else { return Ok(None) };
    let now: Timestamp = row.try_get("now")?;
    let held_since: Option<Timestamp> = row.try_get("held_since")?;
    let between = |from: Timestamp, to: Timestamp| (to - from).to_std().unwrap_or_default();
    Ok(Some(Paid {
        left: between(now, paid_until(since, now)),
        held_for: held_since.map(|held| between(held, now)),
    }))
}

async fn heads(connection: &mut PgConnection, offers: &[Offer]) -> Result<Vec<Head>> {
    let largest = |docker: bool| {
        let which = offers.iter().filter(move |offer| offer.docker == docker);
        sizes::largest(which.map(|offer| offer.free)).into_iter().map(move |size| (size, docker))
    };
    let (sizes, docker): (Vec<Capacity>, Vec<bool>) = largest(false).chain(largest(true)).unzip();
    let slots: usize = offers.iter().map(|offer| offer.slots as usize).sum();
    let attempts = slots.min(limits::CLAIM_ATTEMPTS_MAX);
    let lanes = (attempts * LANES_PER_ATTEMPT).max(LANES_MIN);
    let rows = sqlx::query(guards::sql(&[&guards::BATCH_LIMIT], include_str!("../queries/claim/heads.sql")))
        .bind(sizes.iter().map(|size| row::integer(size.cpu_millis)).collect::<Vec<_>>())
        .bind(sizes.iter().map(|size| row::bigint(size.memory_bytes)).collect::<Vec<_>>())
        .bind(sizes.iter().map(|size| row::bigint(size.disk_bytes)).collect::<Vec<_>>())
        .bind(i64::try_from(attempts).unwrap_or(i64::MAX))
        .bind(i64::try_from(lanes).unwrap_or(i64::MAX))
        .bind(row::millis(limits::RESERVE_AFTER))
        .bind(docker)
        .fetch_all(connection)
        .await?;
    rows.iter().map(Head::read).collect()
}

/// Whether anything queued needs a worker with Docker.
async fn images_wait(connection: &mut PgConnection) -> Result<bool> {
    Ok(sqlx::query_scalar(include_str!("../queries/claim/images_wait.sql")).fetch_one(connection).await?)
}

impl Head {
    fn read(row: &PgRow) -> Result<Self> {
        let room: Option<i32> = row.try_get("batch_room")?;
        let age = row.try_get("age")?;
        Ok(Self {
            now: row.try_get("now")?,
            lane_id: row.try_get("lane_id")?,
            age,
            running: row.number32("running")?,
            batch_room: room.map(|room| u32::try_from(room).unwrap_or(0)),
            candidate: Candidate {
                execution: row.text("execution_id")?,
                account: row.text("account_id")?,
                batch: row.text_or_null("batch_id")?,
                priority: row.try_get("priority")?,
                since: age,
                wanted: Capacity {
                    cpu_millis: row.number32("cpu_millis")?,
                    memory_bytes: row.number64("memory_bytes")?,
                    disk_bytes: row.number64("disk_bytes")?,
                },
                docker: row.try_get::<&str, _>("sandbox")? == queue::DOCKER,
            },
        })
    }
}

fn candidates(heads: &[Head]) -> Vec<Candidate> {
    heads.iter().map(|head| head.candidate).collect()
}

fn load(heads: &[Head]) -> Load {
    let mut running: BTreeMap<AccountId, u32> = BTreeMap::new();
    let mut batch_room: BTreeMap<BatchId, u32> = BTreeMap::new();
    for head in heads {
        running.insert(head.candidate.account, head.running);
        if let (Some(batch), Some(room)) = (head.candidate.batch, head.batch_room) {
            batch_room.insert(batch, room);
        }
    }
    Load { running, batch_room }
}

/// An attempt that was just written.
struct Taken {
    attempt: AttemptRow,
    token: String,
    directive: DirectiveRow,
}

/// Moves known heads of lanes up behind what was taken, so that no claim walks through that again.
async fn advance(connection: &mut PgConnection, lanes: &[i64]) -> Result<()> {
    let late: Vec<i64> = sqlx::query_scalar(include_str!("../queries/claim/late_heads.sql"))
        .bind(lanes)
        .fetch_all(&mut *connection)
        .await?;
    if !late.is_empty() {
        sqlx::query(include_str!("../queries/claim/advance_lanes.sql"))
            .bind(&late)
            .execute(connection)
            .await?;
    }
    Ok(())
}

async fn take(
    connection: &mut PgConnection,
    heads: &[Head],
    placed: &[(ExecutionId, WorkerId)],
) -> Result<Vec<Taken>> {
    let heads: HashMap<ExecutionId, &Head> =
        heads.iter().map(|head| (head.candidate.execution, head)).collect();
    let mut tokens: HashMap<ExecutionId, String> = HashMap::with_capacity(placed.len());
    let mut lanes = Vec::with_capacity(placed.len());
    let mut ages = Vec::with_capacity(placed.len());
    let mut ids = Vec::with_capacity(placed.len());
    let mut workers = Vec::with_capacity(placed.len());
    let mut hashes = Vec::with_capacity(placed.len());
    for (execution, worker) in placed.iter().take(limits::CLAIM_ATTEMPTS_MAX) {
        let head = heads.get(execution).expect("only candidates are placed, and those are the heads");
        let token = secret::draw("");
        lanes.push(head.lane_id);
        ages.push(head.age);
        ids.push(execution.to_string());
        workers.push(worker.to_string());
        hashes.push(secret::hash(&token).to_vec());
        tokens.insert(*execution, token);
    }
    let rows = sqlx::query(include_str!("../queries/claim/take.sql"))
        .bind(&lanes)
        .bind(&ages)
        .bind(&ids)
        .bind(&workers)
        .bind(&hashes)
        .bind(queue::statuses(Step::Claim))
        .bind(PLACED_BY)
        .bind(row::millis(limits::LEASE))
        .fetch_all(&mut *connection)
        .await?;
    lanes.sort_unstable();
    lanes.dedup();
    advance(connection, &lanes).await?;
    let mut taken = Vec::with_capacity(rows.len());
    for row in &rows {
        let execution_id = row.text("execution_id")?;
        let number = row.number32("number")?;
        let token = tokens.remove(&execution_id).expect("only placed executions are taken, each once");
        let directive = DirectiveRow {
            execution_id,
            attempt: number,
            version: row.number64("directive_version")?,
            cancel: None,
            timeout: row.duration("timeout_ms")?,
            followed: row.try_get("followed")?,
        };
        let attempt = AttemptRow {
            execution_id,
            number,
            worker_id: row.text("worker_id")?,
            placed_by: row.try_get("placed_by")?,
            claimed_at: row.try_get("claimed_at")?,
            started_at: None,
            ended_at: None,
            state: AttemptState::Running,
            outcome: None,
            image: None,
        };
        taken.push(Taken { attempt, token, directive });
    }
    Ok(taken)
}

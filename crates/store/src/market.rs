//! How a provider answered: what it refused, why it takes no order, which types brought less than they promised, and why
//! work waits because of it. Remembered for whoever leads next.

use chrono::TimeDelta;
use rgrid_core::Timestamp;
use rgrid_core::id::WorkerId;
use rgrid_core::money::Micros;
use rgrid_core::worker::Capacity;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::leadership::Term;
use crate::row::{self, Columns};
use crate::{Result, Store, guards};

/// The newest servers that are looked at for those that never joined.
const FAILURES_MAX: i64 = 50;

/// How a provider answered so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MarketRows {
    /// Type, location, so often in a row, when last.
    pub refusals: Vec<(String, String, u32, Timestamp)>,
    /// Cause, so often in a row, when last.
    pub pause: Option<(String, u32, Timestamp)>,
    /// Type, promised, joined with, when.
    pub shortfalls: Vec<(String, Capacity, Capacity, Timestamp)>,
    /// Lines of the ledger in this calendar month.
    pub spent_this_month: Micros,
    /// Of the newest servers that were created, those that never joined.
    pub failed_in_a_row: u32,
    /// When the newest of them was given up.
    pub failed_at: Option<Timestamp>,
}

impl Store {
    /// How the provider answered, and what was spent.
    pub async fn market(&self, provider: &str) -> Result<MarketRows> {
        let mut connection = self.pool().acquire().await?;
        let refusals = sqlx::query(include_str!("../queries/market/refusals.sql"))
            .bind(provider)
            .fetch_all(&mut *connection)
            .await?;
        let pause = sqlx::query(include_str!("../queries/market/pauses.sql"))
            .bind(provider)
            .fetch_optional(&mut *connection)
            .await?;
        let shortfalls = sqlx::query(include_str!("../queries/market/shortfalls.sql"))
            .bind(provider)
            .fetch_all(&mut *connection)
            .await?;
        let spent: i64 = sqlx::query_scalar(include_str!("../queries/ledger/month.sql"))
            .fetch_one(&mut *connection)
            .await?;
        let failures = sqlx::query(include_str!("../queries/servers/failures.sql"))
            .bind(FAILURES_MAX)
            .fetch_one(&mut *connection)
            .await?;
        let promised = |row: &PgRow| -> Result<Capacity> {
            Ok(Capacity {
                cpu_millis: row.number32("promised_cpu_millis")?,
                memory_bytes: row.number64("promised_memory_bytes")?,
                disk_bytes: row.number64("promised_disk_bytes")?,
            })
        };
        Ok(MarketRows {
            refusals: refusals
                .iter()
                .map(|row| {
                    Ok((
                        row.try_get("machine_type")?,
                        row.try_get("location")?,
                        row.number32("in_a_row")?,
                        row.try_get("refused_at")?,
                    ))
                })
                .collect::<Result<_>>()?,
            pause: pause
                .map(|row| -> Result<_> {
                    Ok((row.try_get("cause")?, row.number32("in_a_row")?, row.try_get("paused_at")?))
                })
                .transpose()?,
            shortfalls: shortfalls
                .iter()
                .map(|row| {
                    Ok((
                        row.try_get("machine_type")?,
                        promised(row)?,
                        crate::workers::capacity(row)?,
                        row.try_get("joined_at")?,
                    ))
                })
                .collect::<Result<_>>()?,
            spent_this_month: Micros(spent),
            failed_in_a_row: u32::try_from(failures.number64("in_a_row")?).unwrap_or(u32::MAX),
            failed_at: failures.try_get("newest_at")?,
        })
    }

    /// An order of this type at this location was refused.
    pub async fn cell_refused(&self, term: &Term, provider: &str, of_type: &str, at: &str) -> Result<()> {
        self.note(term, include_str!("../queries/market/refuse.sql"), &[provider, of_type, at]).await
    }

    /// An order of this type at this location was taken.
    pub async fn cell_taken(&self, term: &Term, provider: &str, of_type: &str, at: &str) -> Result<()> {
        self.note(term, include_str!("../queries/market/take.sql"), &[provider, of_type, at]).await
    }

    /// The provider takes no order for a while.
    pub async fn provider_paused(&self, term: &Term, provider: &str, cause: &str) -> Result<()> {
        self.note(term, include_str!("../queries/market/pause.sql"), &[provider, cause]).await
    }

    /// A provider's clock is so far ahead of PostgreSQL's: claims ask until when servers are paid.
    pub async fn provider_ahead(&self, term: &Term, provider: &str, ahead: TimeDelta) -> Result<()> {
        let mut transaction = self.write(term).await?;
        sqlx::query(include_str!("../queries/market/set_clock.sql"))
            .bind(provider)
            .bind(ahead.num_milliseconds())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn note(&self, term: &Term, query: &'static str, texts: &[&str]) -> Result<()> {
        let mut transaction = self.write(term).await?;
        let query = texts.iter().fold(sqlx::query(query), |query, text| query.bind((*text).to_owned()));
        query.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Says why work waits; `None` when none waits for a worker.
    pub async fn say_outlook(&self, term: &Term, sentence: Option<&str>) -> Result<()> {
        let mut transaction = self.write(term).await?;
        sqlx::query(include_str!("../queries/market/say.sql"))
            .bind(sentence)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Why work waits for a worker, as the orchestrator said lately.
    pub async fn outlook(&self) -> Result<Option<String>> {
        let said: Option<Option<String>> = sqlx::query_scalar(include_str!("../queries/market/said.sql"))
            .fetch_optional(self.pool())
            .await?;
        Ok(said.flatten())
    }
}

/// Holds a joining worker to what its type promises: no more is given to it, and less is remembered against the type.
pub(crate) async fn hold_to_promise(
    connection: &mut PgConnection,
    worker: WorkerId,
    slots: u32,
    brought: Capacity,
) -> Result<(u32, Capacity)> {
    let promised = sqlx::query(include_str!("../queries/workers/promised.sql"))
        .bind(worker.to_string())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(promised) = promised.filter(|_| guards::holds(&guards::HELD_TO_PROMISE)) else {
        return Ok((slots, brought));
    };
    let most = crate::workers::capacity(&promised)?;
    if !brought.holds(&most) {
        let machine_type: String = promised.try_get("machine_type")?;
        tracing::warn!(%worker, machine_type, ?most, ?brought, "a worker joined with less than its type promises");
        sqlx::query(include_str!("../queries/market/fall_short.sql"))
            .bind(promised.try_get::<String, _>("provider")?)
            .bind(machine_type)
            .bind(row::integer(most.cpu_millis))
            .bind(row::bigint(most.memory_bytes))
            .bind(row::bigint(most.disk_bytes))
            .bind(row::integer(brought.cpu_millis))
            .bind(row::bigint(brought.memory_bytes))
            .bind(row::bigint(brought.disk_bytes))
            .execute(connection)
            .await?;
    }
    let held = Capacity {
        cpu_millis: brought.cpu_millis.min(most.cpu_millis),
        memory_bytes: brought.memory_bytes.min(most.memory_bytes),
        disk_bytes: brought.disk_bytes.min(most.disk_bytes),
    };
    Ok((slots.min(promised.number32("slots")?), held))
}

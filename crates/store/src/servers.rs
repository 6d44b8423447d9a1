//! Servers that a provider bills: the order is written before anything is asked for, every started hour is a line of the
//! ledger, and what the provider answered is remembered for whoever leads next. Each write of the fleet's checks the term.

use std::time::Duration;

use rgrid_core::Timestamp;
use rgrid_core::id::{IntentId, WorkerId};
use rgrid_core::money::{Micros, Rate, ServerPrice};
use rgrid_core::worker::{Capacity, WorkerStatus, WorkerStep};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::leadership::Term;
use crate::notify::Nudge;
use crate::row::{self, Columns};
use crate::workers::statuses;
use crate::{Error, Result, Store, guards, secret};

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOrder {
    /// The provider.
    pub provider: String,
    /// The type.
    pub machine_type: String,
    /// Where.
    pub location: String,
    /// What it costs, captured now.
    pub price: ServerPrice,
    /// What the worker will hold.
    pub capacity: Capacity,
    /// Attempts that it will run at once.
    pub slots: u32,
    /// Why it is wanted.
    pub reason: String,
    /// How long its join token is good.
    pub join_within: Duration,
}

/// An order, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// The row.
    pub intent: IntentId,
    /// The worker it is to be.
    pub worker: WorkerId,
    /// The server's name.
    pub name: String,
    /// What it joins with; kept nowhere else.
    pub join_token: String,
}

/// An ordered server that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerRow {
    /// The row.
    pub intent: IntentId,
    /// The worker it is, or was to be.
    pub worker: Option<WorkerId>,
    /// The provider.
    pub provider: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub machine_type: String,
    /// Where it stands.
    pub location: String,
    /// The provider's id of it; `None` while it was not seen.
    pub server: Option<String>,
    /// When it was created, by the provider's clock.
    pub created: Option<Timestamp>,
    /// What it costs.
    pub price: ServerPrice,
    /// Nobody means to have it any more.
    pub ended: bool,
    /// Started hours that stand in the ledger.
    pub hours: u32,
}

/// A started hour of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerRow {
    /// Whose.
    pub intent: IntentId,
    /// The server's name.
    pub name: String,
    /// `server` or `ipv4`.
    pub item: String,
    /// When the hour began.
    pub hour_start: Timestamp,
    /// What it cost.
    pub amount: Micros,
}

/// The grid's own state, as far as servers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GridState {
    /// Counts restores.
    pub epoch: i64,
    /// The last restore.
    pub restored_at: Option<Timestamp>,
    /// Since when nothing may be bought.
    pub spending_stopped_at: Option<Timestamp>,
}

/// The name of an intent's server: a host name that no other has.
pub fn server_name(intent: IntentId) -> String {
    intent.to_string().replace("intent_", "rgrid-").to_ascii_lowercase()
}

impl Store {
    /// Writes the order, its `provisioning` worker and its join token, before anything is asked for.
    pub async fn order_server(&self, term: &Term, order: &ServerOrder) -> Result<Ordered> {
        let intent = IntentId::new(secret::unix_ms(), secret::random());
        let worker = WorkerId::new(secret::unix_ms(), secret::random());
        let (name, join_token) = (server_name(intent), secret::draw(crate::workers::JOIN_PREFIX));
        let decimal = |rate: Option<&Rate>| rate.map(|rate| rate.hour.to_string());
        let month = |rate: Option<&Rate>| rate.and_then(|rate| rate.month).map(|month| month.to_string());
        let mut transaction = self.write(term).await?;
        sqlx::query(include_str!("../queries/servers/order.sql"))
            .bind(intent.to_string())
            .bind(&order.provider)
            .bind(&order.reason)
            .bind(&name)
            .bind(&order.machine_type)
            .bind(&order.location)
            .bind(decimal(Some(&order.price.server)))
            .bind(month(Some(&order.price.server)))
            .bind(decimal(order.price.ipv4.as_ref()))
            .bind(month(order.price.ipv4.as_ref()))
            .execute(&mut *transaction)
            .await?;
        sqlx::query(include_str!("../queries/servers/worker.sql"))
            .bind(worker.to_string())
            .bind(intent.to_string())
            .bind(&order.provider)
            .bind(&order.reason)
            .bind(row::integer(order.slots))
            .bind(row::integer(order.capacity.cpu_millis))
            .bind(row::bigint(order.capacity.memory_bytes))
            .bind(row::bigint(order.capacity.disk_bytes))
            .execute(&mut *transaction)
            .await?;
        crate::workers::write_token(&mut transaction, &join_token, Some(worker), order.join_within).await?;
        if guards::holds(&guards::ORDER_BEFORE_CREATE) {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(Ordered { intent, worker, name, join_token })
    }

    /// A server is there: it was just created, or a listing shows it. What its type costs is captured the first time: an order
    /// may have been written by a catalog that was a moment too old.
    pub async fn server_seen(
        &self,
        term: &Term,
        intent: IntentId,
        server: &str,
        created: Timestamp,
        rate: Option<&Rate>,
    ) -> Result<()> {
        let mut transaction = self.write(term).await?;
        let earlier = sqlx::query(include_str!("../queries/servers/earlier.sql"))
            .bind(intent.to_string())
            .bind(server)
            .bind(created)
            .fetch_optional(&mut *transaction)
            .await?;
        if let Some(earlier) = earlier {
            if earlier.try_get("is_billed")? {
                end_bill(&mut transaction, intent, created).await?;
            }
            sqlx::query(include_str!("../queries/servers/succeed.sql"))
                .bind(intent.to_string())
                .execute(&mut *transaction)
                .await?;
        }
        sqlx::query(guards::sql(&[&guards::PRICE_AT_CREATION], include_str!("../queries/servers/seen.sql")))
            .bind(intent.to_string())
            .bind(server)
            .bind(created)
            .bind(rate.map(|rate| rate.hour.to_string()))
            .bind(rate.and_then(|rate| rate.month).map(|month| month.to_string()))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// An order was refused for certain: its place is free at once. False when its server was seen after all.
    pub async fn server_refused(&self, term: &Term, intent: IntentId, reason: &str) -> Result<bool> {
        let mut transaction = self.write(term).await?;
        let freed = sqlx::query(guards::sql(
            &[&guards::SEEN_IS_NOT_REFUSED],
            include_str!("../queries/servers/refuse.sql"),
        ))
        .bind(intent.to_string())
        .bind(WorkerStatus::Terminated.as_str())
        .bind(reason)
        .bind(statuses(WorkerStep::NeverJoined))
        .execute(&mut *transaction)
        .await?
        .rows_affected()
            > 0;
        transaction.commit().await?;
        self.nudge_if(freed, Nudge::Fleet);
        Ok(freed)
    }

    /// The provider took a delete at `at`, by its clock.
    pub async fn server_delete_taken(&self, term: &Term, intent: IntentId, at: Timestamp) -> Result<()> {
        let mut transaction = self.write(term).await?;
        sqlx::query(include_str!("../queries/servers/delete_taken.sql"))
            .bind(intent.to_string())
            .bind(at)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// A server is gone, by `at` of the provider's clock at the latest. Its ledger is made final: every hour that began
    /// before has its line, and no other.
    pub async fn server_gone(&self, term: &Term, intent: IntentId, at: Timestamp) -> Result<()> {
        let mut transaction = self.write(term).await?;
        end_bill(&mut transaction, intent, at).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Writes the lines of all hours of a server that have begun by `until` of the provider's clock.
    pub async fn bill(&self, term: &Term, server: &ServerRow, until: Timestamp) -> Result<()> {
        let Some(created) = server.created else { return Ok(()) };
        let mut transaction = self.write(term).await?;
        write_lines(&mut transaction, server.intent, &server.price, created, until).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Ordered servers that are not over, and those that are billed still.
    pub async fn servers(&self) -> Result<Vec<ServerRow>> {
        let rows = sqlx::query(include_str!("../queries/servers/open.sql")).fetch_all(self.pool()).await?;
        rows.iter().map(ServerRow::read).collect()
    }

    /// Which of these intents nobody means to have: asked under the term, so that no order is on its way meanwhile.
    pub async fn unwanted_servers(&self, term: &Term, intents: &[IntentId]) -> Result<Vec<IntentId>> {
        let mut transaction = self.write(term).await?;
        let rows = sqlx::query(include_str!("../queries/servers/wanted.sql"))
            .bind(intents.iter().map(ToString::to_string).collect::<Vec<_>>())
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let wanted: Vec<IntentId> = rows.iter().map(|row| row.text("id")).collect::<Result<_>>()?;
        Ok(intents.iter().filter(|intent| !wanted.contains(intent)).copied().collect())
    }

    /// All lines of the ledger of hours that began since then.
    pub async fn ledger(&self, since: Timestamp) -> Result<Vec<LedgerRow>> {
        let rows = sqlx::query(include_str!("../queries/ledger/lines.sql"))
            .bind(since)
            .fetch_all(self.pool())
            .await?;
        rows.iter()
            .map(|row| {
                Ok(LedgerRow {
                    intent: row.text("intent_id")?,
                    name: row.try_get("name")?,
                    item: row.try_get("item")?,
                    hour_start: row.try_get("hour_start")?,
                    amount: Micros(row.try_get("micros")?),
                })
            })
            .collect()
    }

    /// Which life of the grid this is, and whether it may spend.
    pub async fn grid_state(&self) -> Result<GridState> {
        let row = sqlx::query(include_str!("../queries/grid/state.sql")).fetch_one(self.pool()).await?;
        Ok(GridState {
            epoch: row.try_get("epoch")?,
            restored_at: row.try_get("restored_at")?,
            spending_stopped_at: row.try_get("spending_stopped_at")?,
        })
    }

    /// Stops all spending, or allows it again: an operator's word, which whoever leads heeds in its next round.
    pub async fn stop_spending(&self, stop: bool) -> Result<()> {
        sqlx::query(include_str!("../queries/grid/stop_spending.sql"))
            .bind(stop)
            .execute(self.pool())
            .await?;
        self.nudge(Nudge::Fleet);
        Ok(())
    }

    /// The database was restored from a backup: servers without an intent are reported for a while, and not deleted.
    /// Answers the new epoch.
    pub async fn restored(&self) -> Result<i64> {
        Ok(sqlx::query_scalar(include_str!("../queries/grid/restored.sql")).fetch_one(self.pool()).await?)
    }
}

/// Ends the bill of an order's server, which was gone by `at` at the latest.
async fn end_bill(transaction: &mut PgConnection, intent: IntentId, at: Timestamp) -> Result<()> {
    let row = sqlx::query(guards::sql(
        &[&guards::DELETE_ENDS_THE_BILL],
        include_str!("../queries/servers/gone.sql"),
    ))
    .bind(intent.to_string())
    .bind(at)
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(row) = row {
        let created: Option<Timestamp> = row.try_get("server_created_at")?;
        if let Some(created) = created {
            let gone: Timestamp = row.try_get("server_gone_at")?;
            sqlx::query(guards::sql(
                &[&guards::ONLY_HOURS_THAT_BEGAN],
                include_str!("../queries/ledger/cut.sql"),
            ))
            .bind(intent.to_string())
            .bind(gone.max(created + chrono::TimeDelta::milliseconds(1)))
            .execute(&mut *transaction)
            .await?;
            write_lines(transaction, intent, &price(&row)?, created, gone).await?;
        }
    }
    Ok(())
}

async fn write_lines(
    connection: &mut PgConnection,
    intent: IntentId,
    price: &ServerPrice,
    created: Timestamp,
    until: Timestamp,
) -> Result<()> {
    let (mut items, mut hours, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
    let rates = [("server", Some(&price.server)), ("ipv4", price.ipv4.as_ref())];
    for (item, rate) in rates.into_iter().filter_map(|(item, rate)| Some((item, rate?))) {
        for (hour, amount) in rate.lines(created, until) {
            items.push(item);
            hours.push(hour);
            amounts.push(amount.0);
        }
    }
    sqlx::query(include_str!("../queries/ledger/write.sql"))
        .bind(intent.to_string())
        .bind(items)
        .bind(hours)
        .bind(amounts)
        .execute(connection)
        .await?;
    Ok(())
}

fn price(row: &PgRow) -> Result<ServerPrice> {
    let read = |column: &'static str| -> Result<_> {
        let text: Option<String> = row.try_get(column)?;
        text.map(|text| row::parsed("price", &text)).transpose()
    };
    let hour = read("server_hour")?.ok_or_else(|| Error::corrupt("price", "a server without one"))?;
    let (ipv4, month) = (read("ipv4_hour")?, read("ipv4_month")?);
    Ok(ServerPrice {
        server: Rate { hour, month: read("server_month")? },
        ipv4: ipv4.map(|hour| Rate { hour, month }),
    })
}

impl ServerRow {
    fn read(row: &PgRow) -> Result<Self> {
        let ended: Option<Timestamp> = row.try_get("ended_at")?;
        Ok(Self {
            intent: row.text("id")?,
            worker: row.text_or_null("worker_id")?,
            provider: row.try_get("provider")?,
            name: row.try_get("name")?,
            machine_type: row.try_get("machine_type")?,
            location: row.try_get("location")?,
            server: row.try_get("server")?,
            created: row.try_get("server_created_at")?,
            price: price(row)?,
            ended: ended.is_some(),
            hours: u32::try_from(row.number64("hours")?).unwrap_or(u32::MAX),
        })
    }
}

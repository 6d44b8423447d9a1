//! What executions cost: their attempts' shares of the hours of servers that a provider bills.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The query of `GET /cost`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CostQuery {
    /// Only hours that began since then; absent: since the first of this month (UTC), or since the execution was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Only this execution, by an id, a prefix of one, or `last`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Executions that are listed, 1 to 1000; absent: 100. All are counted.
    #[param(minimum = 1, maximum = 1000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The answer to `GET /cost`. All amounts are net micro-euros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cost {
    /// Hours that began since then are counted.
    pub since: DateTime<Utc>,
    /// Executions with attempts on billed servers in those hours, the newest first.
    pub executions: Vec<ExecutionCost>,
    /// How many there are, the ones that are not listed included.
    pub executions_total: u64,
    /// What all of them come to.
    pub micros: i64,
    /// The whole grid's bill of those hours; for admins only.
    pub grid: Option<GridCost>,
}

/// What one execution cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionCost {
    /// `exec_...`
    pub id: String,
    /// Its name; its program where it has none.
    pub name: String,
    /// The sum over its attempts, lost ones too.
    pub micros: i64,
    /// Its attempts on billed servers, oldest first.
    pub attempts: Vec<AttemptCost>,
}

/// What one attempt cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptCost {
    /// Its number.
    pub number: u32,
    /// The server's name.
    pub server: String,
    /// What it held, in thousandths of a core.
    pub cpu_millis: u32,
    /// Since when it held it, by the provider's clock.
    pub from: DateTime<Utc>,
    /// Until when; now, while it runs.
    pub to: DateTime<Utc>,
    /// Its share.
    pub micros: i64,
}

/// The bill of a grid: `billed` is `charged` and `idle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GridCost {
    /// All lines of the ledger.
    pub billed_micros: i64,
    /// What executions are charged with.
    pub charged_micros: i64,
    /// What was paid for and not used.
    pub idle_micros: i64,
}

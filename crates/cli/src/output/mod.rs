//! Results as text: one trait, and a table, a JSON and a quiet version of it. Pure: the commands print.

mod json;
mod quiet;
pub(crate) mod table;

use rgrid_api::artifacts::Artifact;
use rgrid_api::cost::Cost;
use rgrid_api::executions::{Attempt, Execution};
use rgrid_api::health::Pruned;
use rgrid_api::keys::{CreatedKey, Key, Whoami};
use rgrid_api::runtimes::RuntimeList;
use rgrid_api::workers::Worker;

use crate::configuration::Configuration;
use crate::grid::Check;
use crate::plan::Plan;

pub(crate) use json::Json;
pub(crate) use quiet::Quiet;
pub(crate) use table::{Table, files, size};

/// Every result that a command can have.
pub(crate) trait Output {
    /// `status`: where one stands.
    fn execution(&self, execution: &Execution, attempts: &[Attempt]) -> String;
    /// `list`: newest first.
    fn executions(&self, executions: &[Execution]) -> String;
    /// `run -d`, `retry -d`: what was handed over, or the earlier one that is the answer.
    fn submitted(&self, execution: &Execution, reused: bool) -> String;
    /// `run`, `logs -f`, `cancel`: how it ended. Text says it on stderr where it matters.
    /// `reused`: it is an earlier one that was the same.
    fn ended(&self, execution: &Execution, written: &[String], reused: bool) -> String;
    /// `cancel`: where it stands when it has ended.
    fn cancelled(&self, execution: &Execution) -> String;
    /// `extend`: the new deadline.
    fn extended(&self, execution: &Execution) -> String;
    /// `outputs`: the files it wrote.
    fn outputs(&self, outputs: &[Artifact]) -> String;
    /// `download`: the files that were written here.
    fn downloaded(&self, written: &[String]) -> String;
    /// `cost`: of executions, or of one with its attempts.
    fn cost(&self, cost: &Cost, one: bool) -> String;
    /// `workers`.
    fn workers(&self, workers: &[Worker]) -> String;
    /// `keys`.
    fn keys(&self, keys: &[Key]) -> String;
    /// `keys create`: the only time a secret is shown.
    fn key_created(&self, created: &CreatedKey) -> String;
    /// `keys revoke`.
    fn key_revoked(&self, key: &Key) -> String;
    /// `runtimes`.
    fn runtimes(&self, list: &RuntimeList) -> String;
    /// `whoami`, `init`.
    fn whoami(&self, whoami: &Whoami, url: &str) -> String;
    /// `config show`.
    fn configuration(&self, configuration: &Configuration) -> String;
    /// `doctor`.
    fn checks(&self, checks: &[Check]) -> String;
    /// `prune`.
    fn pruned(&self, pruned: &Pruned) -> String;
    /// `run --dry-run`: what would travel.
    fn plan(&self, plan: &Plan) -> String;
}

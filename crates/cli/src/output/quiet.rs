//! Results for shell scripts: the one thing that is needed next, an id or a path a line, and nothing else.

use rgrid_api::artifacts::Artifact;
use rgrid_api::cost::Cost;
use rgrid_api::executions::{Attempt, Execution};
use rgrid_api::health::Pruned;
use rgrid_api::keys::{CreatedKey, Key, Whoami};
use rgrid_api::runtimes::RuntimeList;
use rgrid_api::workers::Worker;
use rgrid_core::money::Micros;

use super::Output;
use crate::configuration::Configuration;
use crate::grid::{Check, Health};
use crate::plan::Plan;
use crate::terminal::shown;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quiet;

fn lines(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    items.into_iter().map(|item| format!("{}\n", shown(item.as_ref()))).collect()
}

impl Output for Quiet {
    fn execution(&self, execution: &Execution, _attempts: &[Attempt]) -> String {
        lines([&execution.status])
    }

    fn executions(&self, executions: &[Execution]) -> String {
        lines(executions.iter().map(|execution| &execution.id))
    }

    fn submitted(&self, execution: &Execution, _reused: bool) -> String {
        lines([&execution.id])
    }

    fn ended(&self, _execution: &Execution, _written: &[String], _reused: bool) -> String {
        String::new()
    }

    fn cancelled(&self, _execution: &Execution) -> String {
        String::new()
    }

    fn extended(&self, _execution: &Execution) -> String {
        String::new()
    }

    fn outputs(&self, outputs: &[Artifact]) -> String {
        lines(outputs.iter().map(|output| &output.path))
    }

    fn downloaded(&self, _written: &[String]) -> String {
        String::new()
    }

    fn cost(&self, cost: &Cost, _one: bool) -> String {
        lines([&format!("{}", Micros(cost.micros))])
    }

    fn workers(&self, workers: &[Worker]) -> String {
        lines(workers.iter().map(|worker| &worker.id))
    }

    fn keys(&self, keys: &[Key]) -> String {
        lines(keys.iter().filter(|key| key.revoked_at.is_none()).map(|key| &key.id))
    }

    fn key_created(&self, created: &CreatedKey) -> String {
        lines([&created.secret])
    }

    fn key_revoked(&self, _key: &Key) -> String {
        String::new()
    }

    fn runtimes(&self, list: &RuntimeList) -> String {
        lines(list.runtimes.iter().map(|runtime| &runtime.name))
    }

    fn whoami(&self, whoami: &Whoami, _url: &str) -> String {
        lines([&whoami.account_id])
    }

    fn configuration(&self, configuration: &Configuration) -> String {
        lines(configuration.url.iter())
    }

    fn checks(&self, checks: &[Check]) -> String {
        lines(checks.iter().filter_map(|check| match &check.health {
            Health::Good(_) | Health::Limited(_) => None,
            Health::Bad { problem, fix } => Some(format!("{}: {problem}; {fix}", check.what)),
        }))
    }

    fn pruned(&self, _pruned: &Pruned) -> String {
        String::new()
    }

    fn plan(&self, plan: &Plan) -> String {
        lines(plan.files().map(|found| found.input.path.as_str()))
    }
}

//! Results for programs: one JSON value, in the API's own words where it has them.

use rgrid_api::artifacts::Artifact;
use rgrid_api::cost::Cost;
use rgrid_api::executions::{Attempt, Execution};
use rgrid_api::health::Pruned;
use rgrid_api::keys::{CreatedKey, Key, Whoami};
use rgrid_api::runtimes::RuntimeList;
use rgrid_api::workers::Worker;
use serde::Serialize;
use serde_json::json;

use super::Output;
use crate::configuration::Configuration;
use crate::grid::{Check, Health};
use crate::plan::Plan;
use crate::terminal::turns_or_commands;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Json;

fn text(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("our types are maps with text keys");
    text.push('\n');
    printable(text)
}

/// JSON leaves raw what some terminals obey, and what turns the direction of text: it is spelled out. Such characters
/// stand nowhere but in strings.
fn printable(text: String) -> String {
    let is_raw = |c: char| c != '\n' && turns_or_commands(c);
    if !text.contains(is_raw) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_raw(c) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

/// Which earlier execution is the answer, and since when; null when this one ran.
fn reused_from(execution: &Execution, reused: bool) -> serde_json::Value {
    match reused {
        true => json!({ "execution": execution.id, "completed_at": execution.finished_at }),
        false => serde_json::Value::Null,
    }
}

impl Output for Json {
    fn execution(&self, execution: &Execution, attempts: &[Attempt]) -> String {
        text(&json!({ "execution": execution, "attempts": attempts }))
    }

    fn executions(&self, executions: &[Execution]) -> String {
        text(&json!({ "executions": executions }))
    }

    fn submitted(&self, execution: &Execution, reused: bool) -> String {
        text(&json!({ "execution": execution, "reused": reused_from(execution, reused) }))
    }

    fn ended(&self, execution: &Execution, written: &[String], reused: bool) -> String {
        let reused = reused_from(execution, reused);
        text(&json!({ "execution": execution, "written": written, "reused": reused }))
    }

    fn cancelled(&self, execution: &Execution) -> String {
        text(&json!({ "execution": execution }))
    }

    fn extended(&self, execution: &Execution) -> String {
        text(&json!({ "execution": execution }))
    }

    fn outputs(&self, outputs: &[Artifact]) -> String {
        text(&json!({ "outputs": outputs }))
    }

    fn downloaded(&self, written: &[String]) -> String {
        text(&json!({ "written": written }))
    }

    fn cost(&self, cost: &Cost, _one: bool) -> String {
        text(cost)
    }

    fn workers(&self, workers: &[Worker]) -> String {
        text(&json!({ "workers": workers }))
    }

    fn keys(&self, keys: &[Key]) -> String {
        text(&json!({ "keys": keys }))
    }

    fn key_created(&self, created: &CreatedKey) -> String {
        text(created)
    }

    fn key_revoked(&self, key: &Key) -> String {
        text(&json!({ "key": key }))
    }

    fn runtimes(&self, list: &RuntimeList) -> String {
        text(list)
    }

    fn whoami(&self, whoami: &Whoami, url: &str) -> String {
        text(&json!({ "url": url, "whoami": whoami }))
    }

    fn configuration(&self, configuration: &Configuration) -> String {
        let rows: serde_json::Map<_, _> = configuration
            .rows()
            .into_iter()
            .map(|(name, value)| (name.replace(' ', "_"), value.into()))
            .collect();
        text(&rows)
    }

    fn checks(&self, checks: &[Check]) -> String {
        let checks: Vec<_> = checks
            .iter()
            .map(|check| match &check.health {
                Health::Good(found) => json!({ "what": check.what, "health": "good", "found": found }),
                Health::Limited(found) => json!({ "what": check.what, "health": "limited", "found": found }),
                Health::Bad { problem, fix } => {
                    json!({ "what": check.what, "health": "bad", "problem": problem, "fix": fix })
                }
            })
            .collect();
        text(&json!({ "checks": checks }))
    }

    fn pruned(&self, pruned: &Pruned) -> String {
        text(pruned)
    }

    fn plan(&self, plan: &Plan) -> String {
        text(&plan.to_json())
    }
}

//! Results for people: aligned columns, short times, no borders. Readable without colour.

use chrono::{DateTime, Utc};
use comfy_table::{CellAlignment, ContentArrangement};
use rgrid_api::artifacts::Artifact;
use rgrid_api::cost::Cost;
use rgrid_api::executions::{Attempt, Execution, ProgramBody};
use rgrid_api::health::Pruned;
use rgrid_api::keys::{CreatedKey, Key, Whoami};
use rgrid_api::runtimes::RuntimeList;
use rgrid_api::workers::Worker;
use rgrid_core::money::Micros;
use rgrid_core::quantity::{format_bytes, format_duration};

use super::Output;
use crate::configuration::Configuration;
use crate::ending;
use crate::grid::{Check, Health};
use crate::plan::Plan;
use crate::terminal::{quoted, shown};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Table {
    /// Columns of the terminal; absent: as wide as it gets.
    pub columns: Option<u16>,
    /// Ages are counted from here.
    pub now: DateTime<Utc>,
}

/// Why a worker is as it is: its reason, and how long it is paid for.
fn why(worker: &Worker) -> String {
    let paid = worker.server.as_ref().map(|server| {
        let hour = Micros(server.hour_micros);
        let of = format!("{} in {}, {hour} an hour", server.machine_type, server.location);
        match server.paid_until {
            Some(until) => format!("{of}, paid until {}", until.format("%H:%M:%S")),
            None => of,
        }
    });
    worker.reason.clone().into_iter().chain(paid).collect::<Vec<_>>().join("; ")
}

/// The grid's bill, where it is told.
fn bill(cost: &Cost) -> String {
    cost.grid.map_or_else(String::new, |grid| {
        let [billed, charged, idle] = [grid.billed_micros, grid.charged_micros, grid.idle_micros]
            .map(|micros| Micros(micros).to_string());
        format!("the grid's bill: {billed}, of which {charged} for executions and {idle} idle\n")
    })
}

/// A program's command line may take this many characters in a list.
const COMMAND_CHARS: usize = 48;

impl Table {
    fn rows(&self, header: &[&str], right: &[usize], rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).force_no_tty();
        if let Some(columns) = self.columns {
            table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
        }
        if !header.is_empty() {
            table.set_header(header.iter().copied());
        }
        for row in rows {
            table.add_row(row.into_iter().map(|cell| shown(&cell)));
        }
        for index in 0..table.column_count() {
            let column = table.column_mut(index).expect("it is below the count");
            column.set_padding((0, 2));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    fn pairs(&self, pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
        self.rows(&[], &[], pairs.into_iter().map(|(name, value)| vec![name.to_owned(), value]))
    }

    fn ago(&self, at: DateTime<Utc>) -> String {
        format!("{} ago", format_duration(coarse((self.now - at).to_std().unwrap_or_default())))
    }

    fn ran_for(&self, execution: &Execution) -> Option<String> {
        let started = execution.started_at?;
        let end = execution.finished_at.unwrap_or(self.now);
        Some(format_duration(coarse((end - started).to_std().unwrap_or_default())))
    }
}

/// A span as people read it: tenths of seconds only below ten.
fn coarse(span: std::time::Duration) -> std::time::Duration {
    if span.as_secs() >= 10 { std::time::Duration::from_secs(span.as_secs()) } else { span }
}

/// The command line as it was typed, about.
pub(crate) fn command(execution: &Execution) -> String {
    let (program, module) = match &execution.program {
        ProgramBody::Script { path, argv0 } => (argv0.as_ref().unwrap_or(path), ""),
        ProgramBody::Module { name } => (name, "-m "),
    };
    let mut line = format!("{module}{}", quoted(program));
    for arg in &execution.args {
        line.push(' ');
        line.push_str(&quoted(arg));
    }
    line
}

fn shortened(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(3)).chain("...".chars()).collect()
}

/// A status, with how it ended where the status alone does not say it.
fn state(execution: &Execution) -> String {
    match execution.exit_code {
        Some(code) if execution.status == "failed" => format!("failed ({code})"),
        Some(_) | None => execution.status.clone(),
    }
}

impl Output for Table {
    fn execution(&self, execution: &Execution, attempts: &[Attempt]) -> String {
        let mut pairs = vec![("id", execution.id.clone())];
        pairs.extend(execution.name.clone().map(|name| ("name", name)));
        pairs.push(("command", command(execution)));
        pairs.push(("status", state(execution)));
        pairs.extend(execution.waiting.clone().map(|sentence| ("why", sentence)));
        let why = ending::sentence(execution).unwrap_or_default();
        pairs.extend(
            why.lines().enumerate().map(|(at, line)| (if at == 0 { "why" } else { "" }, line.to_owned())),
        );
        pairs.push(("submitted", self.ago(execution.created_at)));
        pairs.extend(self.ran_for(execution).map(|span| ("ran for", span)));
        if execution.finished_at.is_none() {
            pairs.push((
                "may run for",
                format_duration(std::time::Duration::from_millis(execution.timeout_ms)),
            ));
        }
        pairs.extend(execution.worker.clone().map(|worker| ("worker", worker)));
        pairs.extend(execution.image.as_deref().map(|image| ("image", shown(image))));
        if attempts.len() > 1 {
            let list: Vec<_> = attempts
                .iter()
                .map(|one| format!("{} {} on {}", one.number, one.state, one.worker))
                .collect();
            pairs.push(("attempts", list.join("; ")));
        }
        if execution.output_files > 0 {
            let size = size(execution.output_bytes);
            pairs.push((
                "outputs",
                format!("{} with {size}: rgrid outputs {}", files(execution.output_files), execution.id),
            ));
        }
        pairs.extend(execution.metadata.iter().map(|(key, value)| ("label", format!("{key}={value}"))));
        self.pairs(pairs)
    }

    fn executions(&self, executions: &[Execution]) -> String {
        if executions.is_empty() {
            return "there is no execution; `rgrid run SCRIPT` makes one\n".to_owned();
        }
        let rows = executions.iter().map(|execution| {
            vec![
                execution.id.clone(),
                state(execution),
                self.ago(execution.created_at),
                self.ran_for(execution).unwrap_or_default(),
                shortened(execution.name.as_ref().unwrap_or(&command(execution)), COMMAND_CHARS),
            ]
        });
        self.rows(&["ID", "STATUS", "SUBMITTED", "RAN FOR", "COMMAND"], &[], rows)
    }

    fn submitted(&self, execution: &Execution, _reused: bool) -> String {
        format!("{}\n", execution.id)
    }

    fn ended(&self, _execution: &Execution, _written: &[String], _reused: bool) -> String {
        String::new()
    }

    fn cancelled(&self, execution: &Execution) -> String {
        let had = match execution.outcome {
            Some(rgrid_api::outcome::OutcomeBody::Cancelled { .. }) => "is",
            Some(_) | None => "had ended before:",
        };
        format!("{} {had} {}\n", execution.id, state(execution))
    }

    fn extended(&self, execution: &Execution) -> String {
        let time = format_duration(std::time::Duration::from_millis(execution.timeout_ms));
        format!("{} may run for {time} in all\n", execution.id)
    }

    fn outputs(&self, outputs: &[Artifact]) -> String {
        let rows = outputs.iter().map(|output| {
            let size = if output.folder { "folder".to_owned() } else { size(output.size_bytes) };
            vec![size, output.path.clone()]
        });
        self.rows(&[], &[0], rows)
    }

    fn downloaded(&self, written: &[String]) -> String {
        written.iter().map(|path| format!("{}\n", shown(path))).collect()
    }

    fn cost(&self, cost: &Cost, one: bool) -> String {
        let since = cost.since.format("%F %H:%M UTC");
        if cost.executions.is_empty() {
            return format!("nothing ran on a server that is paid by the hour since {since}\n{}", bill(cost));
        }
        let table = if one {
            let attempts = cost.executions.iter().flat_map(|execution| &execution.attempts).map(|attempt| {
                vec![
                    attempt.number.to_string(),
                    attempt.server.clone(),
                    format!("{} CPU", f64::from(attempt.cpu_millis) / 1000.0),
                    format_duration((attempt.to - attempt.from).to_std().unwrap_or_default()),
                    Micros(attempt.micros).to_string(),
                ]
            });
            self.rows(&["ATTEMPT", "SERVER", "SIZE", "FOR", "COST"], &[4], attempts)
        } else {
            let executions = cost.executions.iter().map(|execution| {
                let attempts = execution.attempts.len().to_string();
                vec![
                    execution.id.clone(),
                    attempts,
                    Micros(execution.micros).to_string(),
                    execution.name.clone(),
                ]
            });
            self.rows(&["ID", "ATTEMPTS", "COST", "NAME"], &[1, 2], executions)
        };
        let count = match cost.executions_total {
            1 => "one execution".to_owned(),
            count => format!("{count} executions"),
        };
        format!("{table}{count} since {since}: {}\n{}", Micros(cost.micros), bill(cost))
    }

    fn workers(&self, workers: &[Worker]) -> String {
        if workers.is_empty() {
            return "there is no worker now; the next execution starts one\n".to_owned();
        }
        let rows = workers.iter().map(|worker| {
            vec![
                worker.id.clone(),
                worker.status.clone(),
                format!("{} of {}", worker.running, worker.slots),
                format!(
                    "{} CPU, {}",
                    f64::from(worker.capacity.cpu_millis) / 1000.0,
                    format_bytes(worker.capacity.memory_bytes)
                ),
                format!(
                    "{}, {} network, {} limits",
                    worker.sandbox.kind, worker.sandbox.network, worker.sandbox.limits
                ),
                worker.last_heartbeat_at.map(|at| self.ago(at)).unwrap_or_default(),
                why(worker),
            ]
        });
        self.rows(&["ID", "STATUS", "RUNNING", "SIZE", "SANDBOX", "HEARD OF", "WHY"], &[], rows)
    }

    fn keys(&self, keys: &[Key]) -> String {
        let rows = keys.iter().map(|key| {
            vec![
                key.id.clone(),
                key.name.clone(),
                key.role.as_str().to_owned(),
                self.ago(key.created_at),
                match (key.revoked_at, key.last_used_at) {
                    (Some(at), _) => format!("revoked {}", self.ago(at)),
                    (None, Some(at)) => format!("used {}", self.ago(at)),
                    (None, None) => "never used".to_owned(),
                },
            ]
        });
        self.rows(&["ID", "NAME", "ROLE", "CREATED", "USE"], &[], rows)
    }

    fn key_created(&self, created: &CreatedKey) -> String {
        format!("{}\n", created.secret)
    }

    fn key_revoked(&self, key: &Key) -> String {
        format!("{} ({}) is revoked\n", key.id, shown(&key.name))
    }

    fn runtimes(&self, list: &RuntimeList) -> String {
        let mut out = self.rows(
            &["NAME", "BY", "IMAGE"],
            &[],
            list.runtimes.iter().map(|runtime| {
                let image = runtime.image.clone().unwrap_or_default();
                vec![runtime.name.clone(), "--runtime".to_owned(), image]
            }),
        );
        if list.own_images {
            out.push_str("and every image that Docker has on this machine, by --image\n");
        }
        out
    }

    fn whoami(&self, whoami: &Whoami, url: &str) -> String {
        self.pairs([
            ("grid", format!("{url} (rgrid {}, {})", whoami.version, whoami.grid_id)),
            ("account", format!("{} ({})", whoami.account, whoami.account_id)),
            ("key", format!("{} ({}, {})", whoami.key.name, whoami.key.role.as_str(), whoami.key.id)),
        ])
    }

    fn configuration(&self, configuration: &Configuration) -> String {
        self.pairs(configuration.rows())
    }

    fn checks(&self, checks: &[Check]) -> String {
        let mut out = String::new();
        for check in checks {
            let (mark, text) = match &check.health {
                Health::Good(found) => ("ok     ", shown(found)),
                Health::Limited(found) => ("limited", shown(found)),
                Health::Bad { problem, fix } => {
                    ("REPAIR ", format!("{}\n         next: {}", shown(problem), shown(fix)))
                }
            };
            out.push_str(&format!("{mark}  {}: {text}\n", shown(&check.what)));
        }
        out
    }

    fn pruned(&self, pruned: &Pruned) -> String {
        format!(
            "removed {} that nothing needs, with {}, and {} beyond their retention\n",
            files(pruned.blobs),
            size(pruned.bytes),
            if pruned.executions == 1 {
                "one execution".to_owned()
            } else {
                format!("{} executions", pruned.executions)
            },
        )
    }

    fn plan(&self, plan: &Plan) -> String {
        plan.to_text()
    }
}

/// An amount of bytes, with a word where it has no unit.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        _ => format_bytes(bytes),
    }
}

/// A number of files, in words that fit it.
pub(crate) fn files(number: u64) -> String {
    if number == 1 { "one file".to_owned() } else { format!("{number} files") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table { columns: None, now: "2026-01-02T12:00:00Z".parse().unwrap() }
    }

    fn execution(changes: serde_json::Value) -> Execution {
        let mut value = serde_json::json!({
            "id": "exec_01HF7YAT00E40R2081040G2081", "name": null, "status": "completed",
            "program": { "kind": "script", "path": "/p/tools/x.py", "argv0": "tools/x.py" },
            "args": ["data.csv", "two words", "--fast"], "cwd": "/p", "project_root": "/p", "runtime": "python:3.12",
            "environment": [], "metadata": {}, "priority": 0, "attempt": 1, "worker": "worker_1",
            "created_at": "2026-01-02T11:58:00Z", "started_at": "2026-01-02T11:58:01Z",
            "finished_at": "2026-01-02T11:58:13.5Z", "timeout_ms": 86_400_000, "cancel_requested": false,
            "inputs_missing": 0, "outcome": { "kind": "exited", "code": 0 }, "exit_code": 0, "output_files": 2,
            "output_bytes": 2048, "not_brought_back": [], "waiting": null,
        });
        for (name, change) in changes.as_object().unwrap() {
            value[name] = change.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_list_is_read_at_a_glance() {
        let waiting = serde_json::json!({
            "status": "queued", "started_at": null, "finished_at": null, "outcome": null, "exit_code": null,
            "name": "nightly\u{1b}[2J",
        });
        let failed = serde_json::json!({ "status": "failed", "outcome": { "kind": "exited", "code": 3 }, "exit_code": 3 });
        let all = [serde_json::json!({}), waiting, failed].map(execution);
        insta::assert_snapshot!(table().executions(&all), @r"
            ID                               STATUS      SUBMITTED  RAN FOR  COMMAND
            exec_01HF7YAT00E40R2081040G2081  completed   2m ago     12s      tools/x.py data.csv 'two words' --fast
            exec_01HF7YAT00E40R2081040G2081  queued      2m ago              nightly\u{1b}[2J
            exec_01HF7YAT00E40R2081040G2081  failed (3)  2m ago     12s      tools/x.py data.csv 'two words' --fast
        ");
        insta::assert_snapshot!(table().executions(&[]), @"there is no execution; `rgrid run SCRIPT` makes one");
    }

    #[test]
    fn a_cost_is_told_by_execution_or_by_attempt_and_admins_are_told_the_bill() {
        let attempt = |number: u32, micros: i64| {
            serde_json::json!({ "number": number, "server": "rgrid-01hf7yat00", "cpu_millis": 1000,
                "from": "2026-01-02T11:00:00Z", "to": "2026-01-02T11:30:00Z", "micros": micros })
        };
        let cost: Cost = serde_json::from_value(serde_json::json!({
            "since": "2026-01-01T00:00:00Z", "executions_total": 2, "micros": 24_400,
            "executions": [{ "id": "exec_01HF7YAT00E40R2081040G2081", "name": "tools/x.py", "micros": 16_400,
                "attempts": [attempt(1, 8_200), attempt(2, 8_200)] }],
            "grid": { "billed_micros": 64_000, "charged_micros": 24_400, "idle_micros": 39_600 },
        }))
        .unwrap();
        insta::assert_snapshot!(table().cost(&cost, false), @r"
            ID                               ATTEMPTS        COST  NAME
            exec_01HF7YAT00E40R2081040G2081         2  EUR 0.0164  tools/x.py
            2 executions since 2026-01-01 00:00 UTC: EUR 0.0244
            the grid's bill: EUR 0.064, of which EUR 0.0244 for executions and EUR 0.0396 idle
        ");
        let one = Cost { grid: None, executions_total: 1, micros: 16_400, ..cost.clone() };
        insta::assert_snapshot!(table().cost(&one, true), @r"
            ATTEMPT  SERVER            SIZE   FOR        COST
            1        rgrid-01hf7yat00  1 CPU  30m  EUR 0.0082
            2        rgrid-01hf7yat00  1 CPU  30m  EUR 0.0082
            one execution since 2026-01-01 00:00 UTC: EUR 0.0164
        ");
        let nothing = Cost { executions: Vec::new(), executions_total: 0, micros: 0, ..cost };
        insta::assert_snapshot!(table().cost(&nothing, false), @r"
            nothing ran on a server that is paid by the hour since 2026-01-01 00:00 UTC
            the grid's bill: EUR 0.064, of which EUR 0.0244 for executions and EUR 0.0396 idle
        ");
    }

    #[test]
    fn a_status_says_why_it_waits_or_how_it_ended() {
        let waiting = serde_json::json!({
            "status": "queued", "started_at": null, "finished_at": null, "outcome": null, "exit_code": null,
            "worker": null, "output_files": 0, "waiting": "2 are ahead of it; it runs when one has ended",
        });
        insta::assert_snapshot!(table().execution(&execution(waiting), &[]), @r"
            id           exec_01HF7YAT00E40R2081040G2081
            command      tools/x.py data.csv 'two words' --fast
            status       queued
            why          2 are ahead of it; it runs when one has ended
            submitted    2m ago
            may run for  1d
        ");
        let lost = serde_json::json!({
            "status": "timed_out", "outcome": { "kind": "timed_out", "timeout_ms": 5000 }, "exit_code": 124,
            "metadata": { "team": "red" },
        });
        insta::assert_snapshot!(table().execution(&execution(lost), &[]), @r"
            id         exec_01HF7YAT00E40R2081040G2081
            command    tools/x.py data.csv 'two words' --fast
            status     timed_out
            why        the script was ended at its time limit of 5s
            submitted  2m ago
            ran for    12s
            worker     worker_1
            outputs    2 files with 2K: rgrid outputs exec_01HF7YAT00E40R2081040G2081
            label      team=red
        ");
    }
}

//! Rows of the store as bodies of the API, and back: each conversion once.

use std::collections::BTreeMap;

use rgrid_api::executions::{Attempt, Execution, InputBody};
use rgrid_api::keys::{Key, Role};
use rgrid_api::outcome::OutcomeBody;
use rgrid_api::workers::{Directive, Held, Lease, SandboxBody, ServerBody, Worker};
use rgrid_core::Timestamp;
use rgrid_core::id::AccountId;
use rgrid_core::limits;
use rgrid_core::money::paid_until;
use rgrid_core::outcome::Outcome;
use rgrid_core::submission::{InputKind, Sha256};
use rgrid_core::worker::Capacity;
use rgrid_store::attempts::AttemptRow;
use rgrid_store::claim::Claimed;
use rgrid_store::directives::DirectiveRow;
use rgrid_store::executions::ExecutionRow;
use rgrid_store::keys::KeyRow;
use rgrid_store::servers::ServerRow;
use rgrid_store::workers::WorkerRow;

use crate::error::Refused;
use crate::signing::{Grant, Signer};

/// Attempts that one runner may hold: far more than any machine has places.
const HELD_MAX: usize = 10_000;

pub(crate) fn execution(row: &ExecutionRow, waiting: Option<String>) -> Execution {
    Execution {
        id: row.id.to_string(),
        name: row.name.clone(),
        status: row.status.to_string(),
        program: (&row.program).into(),
        args: row.args.clone(),
        cwd: row.cwd.to_string(),
        project_root: row.project_root.to_string(),
        runtime: row.runtime.to_string(),
        environment: row.environment.clone(),
        metadata: row.metadata.clone(),
        priority: row.priority,
        attempt: row.attempt,
        worker: row.worker.map(|id| id.to_string()),
        image: row.image.clone(),
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        timeout_ms: row.timeout.as_millis() as u64,
        cancel_requested: row.cancel_requested_by.is_some(),
        inputs_missing: row.inputs_missing,
        outcome: row.outcome.as_ref().map(OutcomeBody::from),
        exit_code: row.outcome.as_ref().map(Outcome::client_exit_code),
        output_files: row.output_files,
        output_bytes: row.output_bytes,
        not_brought_back: row.not_brought_back.clone(),
        waiting,
    }
}

pub(crate) fn attempt(row: &AttemptRow) -> Attempt {
    Attempt {
        number: row.number,
        worker: row.worker_id.to_string(),
        placed_by: row.placed_by.clone(),
        claimed_at: row.claimed_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        state: row.state.to_string(),
        outcome: row.outcome.as_ref().map(OutcomeBody::from),
        image: row.image.clone(),
    }
}

pub(crate) fn key(row: &KeyRow) -> Key {
    Key {
        id: row.id.to_string(),
        name: row.name.clone(),
        role: match row.role {
            rgrid_store::keys::Role::Admin => Role::Admin,
            rgrid_store::keys::Role::Member => Role::Member,
            rgrid_store::keys::Role::Worker => Role::Worker,
        },
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    }
}

pub(crate) fn worker(row: &WorkerRow, servers: &[ServerRow], now: Timestamp) -> Worker {
    let server = servers.iter().find(|server| server.worker == Some(row.id));
    let sandbox = row.sandbox.as_ref();
    Worker {
        id: row.id.to_string(),
        status: row.status.to_string(),
        hostname: row.hostname.clone(),
        version: row.version.clone(),
        running: row.running,
        slots: row.slots,
        capacity: row.capacity.into(),
        // Before it joined nothing is known of it.
        sandbox: SandboxBody {
            kind: sandbox.map_or_else(String::new, |sandbox| sandbox.kind.clone()),
            network: sandbox.map_or_else(String::new, |sandbox| sandbox.network.clone()),
            limits: sandbox.map_or_else(String::new, |sandbox| sandbox.limits.as_str().to_owned()),
            disk: sandbox.map_or_else(String::new, |sandbox| sandbox.disk.as_str().to_owned()),
        },
        created_at: row.created_at,
        last_heartbeat_at: row.last_heartbeat_at,
        reason: row.reason.clone(),
        server: server.map(|server| ServerBody {
            provider: server.provider.clone(),
            name: server.name.clone(),
            machine_type: server.machine_type.clone(),
            location: server.location.clone(),
            hour_micros: server.price.hour().0,
            paid_until: server.created.map(|created| paid_until(created, now)),
        }),
    }
}

pub(crate) fn directive(row: &DirectiveRow) -> Directive {
    Directive {
        execution_id: row.execution_id.to_string(),
        attempt: row.attempt,
        version: row.version,
        cancel: row.cancel.map(Into::into),
        timeout_ms: row.timeout.as_millis() as u64,
        followed: row.followed,
    }
}

pub(crate) fn held(row: rgrid_store::directives::Held) -> Held {
    Held {
        execution_id: row.execution_id.to_string(),
        attempt: row.attempt,
        token: row.token,
        directive: row.directive,
    }
}

/// What a runner says it holds, parsed.
pub(crate) fn holding(bodies: Vec<Held>) -> Result<Vec<rgrid_store::directives::Held>, Refused> {
    if bodies.len() > HELD_MAX {
        return Err(Refused::invalid("holding", format!("at most {HELD_MAX} attempts are held at once")));
    }
    bodies
        .into_iter()
        .map(|body| {
            let execution_id =
                body.execution_id.parse().map_err(|error| Refused::invalid("holding", error))?;
            if i32::try_from(body.attempt).is_err() || i64::try_from(body.directive).is_err() {
                return Err(Refused::invalid("holding", "no attempt or directive has such a number"));
            }
            Ok(rgrid_store::directives::Held {
                execution_id,
                attempt: body.attempt,
                token: body.token,
                directive: body.directive,
            })
        })
        .collect()
}

/// What a runner says it has, bounded by what any machine has: the database's numbers end at 2^63.
pub(crate) fn capacity(body: rgrid_api::workers::CapacityBody) -> Capacity {
    const BYTES_MAX: u64 = 1 << 50;
    const CPU_MILLIS_MAX: u32 = 10_000_000;
    Capacity {
        cpu_millis: body.cpu_millis.min(CPU_MILLIS_MAX),
        memory_bytes: body.memory_bytes.min(BYTES_MAX),
        disk_bytes: body.disk_bytes.min(BYTES_MAX),
    }
}

/// What was claimed, with all that its runner needs.
pub(crate) fn lease(claimed: Claimed, signer: &Signer, now: Timestamp) -> Lease {
    let submission = &claimed.submission;
    let urls: BTreeMap<String, String> = submission
        .inputs
        .iter()
        .filter_map(|input| match input.kind {
            InputKind::File { sha256, .. } => Some(sha256),
            InputKind::Folder | InputKind::Symlink { .. } => None,
        })
        .map(|sha256| (sha256.to_string(), blob_url(signer, claimed.account_id, sha256, now)))
        .collect();
    let texts = |paths: &[rgrid_core::path::AbsolutePath]| paths.iter().map(ToString::to_string).collect();
    Lease {
        execution_id: claimed.attempt.execution_id.to_string(),
        account_id: claimed.account_id.to_string(),
        attempt: claimed.attempt.number,
        program: (&submission.program).into(),
        args: submission.args.clone(),
        cwd: submission.cwd.to_string(),
        project_root: submission.project_root.to_string(),
        runtime: submission.runtime.to_string(),
        interpreter: submission.interpreter.as_ref().map(ToString::to_string),
        inputs: submission.inputs.iter().map(InputBody::from).collect(),
        urls,
        environment: submission.environment.clone(),
        stdin: submission.stdin,
        cpu_millis: submission.wanted.cpu_millis,
        memory_bytes: submission.wanted.memory_bytes,
        disk_bytes: submission.wanted.disk_bytes,
        grace_ms: submission.grace.as_millis() as u64,
        network: submission.network,
        output_roots: texts(&submission.output_roots),
        outputs: texts(&submission.outputs),
        output_bytes_max: limits::OUTPUT_BYTES_MAX,
        directive: directive(&claimed.directive),
        umask: submission.umask,
        dependencies: submission.dependencies.as_ref().map(Into::into),
        token: claimed.token,
    }
}

/// Where an account's blob can be fetched without a key.
pub(crate) fn blob_url(signer: &Signer, account: AccountId, sha256: Sha256, now: Timestamp) -> String {
    signer.url(Grant::Get { sha256, account }, now)
}

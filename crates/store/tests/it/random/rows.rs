//! What the rows say: as lines that the model can say too, and by the rules that hold whatever the model believes.

use std::collections::BTreeMap;
use std::fmt::Display;

use rgrid_core::execution::Status;
use rgrid_store::attempts::AttemptState;
use sqlx::PgConnection;

use super::model::{Model, SLOTS};

const SEEN: &str = "
with t as (select timestamptz '2030-01-01 00:00:00+00' as zero)
select format('execution %s %s attempts=%s cancelled=%s outcome=%s outputs=%s waits=%s', e.id, e.status, e.attempt,
    e.cancel_requested_by is not null, coalesce(e.outcome_kind, '-'),
    exists (select from artifacts o where o.execution_id = e.id and o.kind = 'output'),
    exists (select from queue q where q.execution_id = e.id))
from executions e
union all
select format('attempt %s %s %s %s claimed=%s named=%s lease=%s log=%s finished=%s', a.execution_id, a.number,
    a.worker_id, a.state, (extract(epoch from a.claimed_at - t.zero) * 1000)::bigint, a.named_at is not null,
    (extract(epoch from a.lease_until - t.zero) * 1000)::bigint,
    coalesce((
        select l.stdout_bytes from attempt_logs l where l.execution_id = a.execution_id and l.attempt = a.number
    ), 0),
    a.manifest_sha256 is not null)
from attempts a, t
union all
select format('worker %s %s heard=%s', w.id, w.status,
    coalesce(((extract(epoch from h.last_heartbeat_at - t.zero) * 1000)::bigint)::text, '-'))
from t cross join workers w left join worker_heartbeats h on h.worker_id = w.id
union all
select format('beats %s gap=%s',
    coalesce(((extract(epoch from o.last_beat_at - t.zero) * 1000)::bigint)::text, '-'),
    coalesce(((extract(epoch from o.last_gap_end - t.zero) * 1000)::bigint)::text, '-'))
from api_outage o, t
union all
select format('leader %s %s until=%s', l.term, coalesce(l.holder, '-'),
    case when isfinite(l.deadline) then ((extract(epoch from l.deadline - t.zero) * 1000)::bigint)::text else '-' end)
from leadership l, t";

/// DESIGN section 10, rules 2 and 4, and the limits: each line that comes back is broken.
const BROKEN: &str = "
select 'two current attempts of ' || execution_id from attempts where state = 'running'
group by execution_id having count(*) > 1
union all
select 'running without its newest attempt: ' || e.id from executions e
where (e.status = 'running') <> exists (
    select from attempts a where a.execution_id = e.id and a.number = e.attempt and a.state = 'running'
)
union all
select 'attempts are not numbered 1, 2, ...: ' || e.id from executions e
where e.attempt <> (select count(*) from attempts a where a.execution_id = e.id)
    or e.attempt <> (select coalesce(max(a.number), 0) from attempts a where a.execution_id = e.id)
union all
select 'waits and is not claimable, or the other way: ' || e.id from executions e
where (e.status = 'queued') <> exists (
    select from queue q join lanes l on l.id = q.lane_id
    where q.execution_id = e.id and q.lane_id = e.lane_id and q.age = e.created_at and l.head_age <= q.age
        and l.generation = (select number from waiting_generation)
)
union all
select 'in the queue without an execution: ' || q.execution_id from queue q
where not exists (select from executions e where e.id = q.execution_id)
union all
select 'pending with all it needs: ' || e.id from executions e
where e.status = 'pending' and not exists (
    select from artifacts a where a.execution_id = e.id and a.kind = 'input' and a.sha256 is not null
        and not exists (select from blobs b where b.account_id = e.account_id and b.sha256 = a.sha256)
)
union all
select 'a lease longer than a lease: ' || execution_id from attempts
where state = 'running' and lease_until > frozen.now() + interval '20 seconds'
union all
select 'an attempt on a worker that is gone for good: ' || a.execution_id from attempts a
join workers w on w.id = a.worker_id
where a.state = 'running' and w.status in ('terminating', 'terminated')
union all
select 'a batch beyond its limit: ' || b.id from batches b
where b.parallel < (select count(*) from attempts a where a.batch_id = b.id and a.state = 'running')
union all
select 'a worker beyond its slots: ' || w.id from workers w
where w.slots < (select count(*) from attempts a where a.worker_id = w.id and a.state = 'running')
union all
select 'lost more often than it may be: ' || e.id from executions e
where e.retries + 1 < (select count(*) from attempts a where a.execution_id = e.id and a.state = 'lost')";

/// Rows that must never change again, as text.
const FINAL: &str = "
select 'execution ' || e.id, e::text from executions e
where e.status in ('completed', 'failed', 'timed_out', 'cancelled')
union all
select 'attempt ' || a.execution_id || ' ' || a.number, a::text from attempts a where a.state <> 'running'
union all
select 'log ' || l.execution_id || ' ' || l.attempt, l::text from attempt_logs l
join attempts a on a.execution_id = l.execution_id and a.number = l.attempt where a.state <> 'running'
union all
select 'outputs of ' || e.id, (select count(*)::text from artifacts a where a.execution_id = e.id)
from executions e where e.status in ('completed', 'failed', 'timed_out', 'cancelled')";

/// What the rows say, sorted.
pub(crate) async fn seen(connection: &mut PgConnection) -> Vec<String> {
    let mut lines: Vec<String> = sqlx::query_scalar(SEEN).fetch_all(connection).await.unwrap();
    lines.sort();
    lines
}

/// Fails when a rule is broken, or when a row has changed that was final at an earlier call.
pub(crate) async fn check_rules(connection: &mut PgConnection, finals: &mut BTreeMap<String, String>) {
    let broken: Vec<String> = sqlx::query_scalar(BROKEN).fetch_all(&mut *connection).await.unwrap();
    assert!(broken.is_empty(), "{broken:#?}");
    let rows: Vec<(String, String)> = sqlx::query_as(FINAL).fetch_all(connection).await.unwrap();
    let rows: BTreeMap<String, String> = rows.into_iter().collect();
    for (name, before) in &*finals {
        assert_eq!(rows.get(name), Some(before), "{name} was final");
    }
    *finals = rows;
}

/// What the model says, in the same words.
pub(crate) fn expected(model: &Model) -> Vec<String> {
    let or_dash = |value: Option<&dyn Display>| value.map_or("-".to_owned(), ToString::to_string);
    let bit = |value: bool| if value { "t" } else { "f" };
    let mut lines = Vec::new();
    for (id, e) in &model.executions {
        lines.push(format!(
            "execution {id} {} attempts={} cancelled={} outcome={} outputs={} waits={}",
            e.status,
            e.attempts.len(),
            bit(e.cancelled),
            e.outcome.unwrap_or("-"),
            bit(e.outputs),
            bit(e.status == Status::Queued)
        ));
        for (number, a) in (1..).zip(&e.attempts) {
            lines.push(format!(
                "attempt {id} {number} {} {} claimed={} named={} lease={} log={} finished={}",
                a.worker,
                a.state,
                a.claimed,
                bit(a.named),
                a.lease,
                a.log,
                bit(a.state == AttemptState::Ended)
            ));
        }
    }
    for (id, w) in &model.workers {
        lines.push(format!(
            "worker {id} {} heard={}",
            w.status,
            or_dash(w.heard.as_ref().map(|at| at as &dyn Display))
        ));
        assert!(model.held(*id) <= SLOTS as usize);
    }
    let at = |value: &Option<i64>| or_dash(value.as_ref().map(|at| at as &dyn Display));
    lines.push(format!("beats {} gap={}", at(&model.beat), at(&model.gap_end)));
    let (holder, until) = match &model.leader {
        Some((holder, until)) => (format!("orchestrator-{holder}"), at(until)),
        None => ("-".to_owned(), "-".to_owned()),
    };
    lines.push(format!("leader {} {holder} until={until}", model.term));
    lines.sort();
    lines
}

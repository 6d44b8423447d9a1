-- Hands out what was placed: rows leave the queue, executions begin to run, attempts are written with their leases. What
-- has left the queue meanwhile is not handed out; a row whose execution does not wait any more is dropped.
with placed as (
    select *
    from unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::bytea[])
        as p (lane_id, age, execution_id, worker_id, token_sha256)
),
taken as (
    delete from queue q using placed p
    where q.lane_id = p.lane_id and q.age = p.age and q.execution_id = p.execution_id
    returning q.execution_id, p.worker_id, p.token_sha256
),
started as (
    update executions e set status = 'running', attempt = e.attempt + 1
    from taken t
    where e.id = t.execution_id and e.status = any($6)
    returning e.id, e.account_id, e.batch_id, e.attempt, coalesce(e.cpu_millis, 0) as cpu_millis,
        coalesce(e.memory_bytes, 0) as memory_bytes, coalesce(e.disk_bytes, 0) as disk_bytes, e.timeout_ms,
        e.followed_until > clock_timestamp() as followed, t.worker_id, t.token_sha256
),
busy as (
    insert into worker_heartbeats (worker_id, busy_at) select worker_id, clock_timestamp() from started group by worker_id
    on conflict (worker_id) do update set busy_at = excluded.busy_at
),
attempt as (
    insert into attempts (execution_id, number, worker_id, account_id, batch_id, cpu_millis, memory_bytes, disk_bytes,
        placed_by, token_sha256, claimed_at, lease_until, generation)
    select id, attempt, worker_id, account_id, batch_id, cpu_millis, memory_bytes, disk_bytes, $7, token_sha256,
        clock_timestamp(), clock_timestamp() + make_interval(secs => $8::bigint / 1000.0),
        (select number from running_generation)
    from started
    returning execution_id, number, worker_id, placed_by, claimed_at, directive_version
)
select a.execution_id, a.number, a.worker_id, a.placed_by, a.claimed_at, a.directive_version, s.timeout_ms,
    coalesce(s.followed, false) as followed
from attempt a
join started s on s.id = a.execution_id

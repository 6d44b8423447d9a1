-- Writes all heartbeats of a moment, brings dead workers back, and renews the leases of the attempts they name when less
-- than $8 ms of $7 ms are left. Rows that somebody holds are skipped: their state is just being changed.
with beat as (
    select worker_id, max(holding) as holding
    from unnest($1::text[], $2::integer[]) as b (worker_id, holding)
    group by worker_id
),
known as (
    select w.id, b.holding from beat b join workers w on w.id = b.worker_id
    where w.status not in ('terminating', 'terminated')
),
written as (
    insert into worker_heartbeats (worker_id, last_heartbeat_at, busy_at, holding)
    select id, clock_timestamp(), case when holding > 0 then clock_timestamp() end, holding from known order by id
    on conflict (worker_id) do update set last_heartbeat_at = excluded.last_heartbeat_at,
        busy_at = coalesce(excluded.busy_at, worker_heartbeats.busy_at), holding = excluded.holding
),
silent as (
    select id from workers where id in (select id from known) and status = any($9) order by id for update skip locked
),
returned as (
    update workers w set status = 'active', status_since = now(), reason = null from silent where w.id = silent.id
),
named as (
    select a.execution_id, a.number
    from unnest($3::text[], $4::integer[], $5::bytea[], $6::text[])
        as held (execution_id, number, token_sha256, worker_id)
    join attempts a on a.execution_id = held.execution_id and a.number = held.number
        and a.token_sha256 = held.token_sha256 and a.worker_id = held.worker_id and a.state = 'running'
    where a.named_at is null or a.lease_until < clock_timestamp() + make_interval(secs => $8::bigint / 1000.0)
    order by a.execution_id
    for no key update of a skip locked
)
update attempts a set named_at = coalesce(a.named_at, clock_timestamp()),
    lease_until = clock_timestamp() + make_interval(secs => $7::bigint / 1000.0)
from named
where a.execution_id = named.execution_id and a.number = named.number

-- Reads all workers that are not gone, with what they hold.
select w.id, w.intent_id, w.provider, w.status, w.status_since, w.created_at, w.joined_at, w.slots, w.cpu_millis,
    w.memory_bytes, w.disk_bytes, h.last_heartbeat_at, greatest(w.joined_at, h.busy_at) as idle_since,
    coalesce(held.count, 0) as open_attempts, coalesce(held.cpu_millis, 0) as used_cpu_millis,
    coalesce(held.memory_bytes, 0) as used_memory_bytes, coalesce(held.disk_bytes, 0) as used_disk_bytes,
    case when w.status = 'draining' then held.deadline end as drain_deadline
from workers w
left join lateral (
    -- The limit keeps it from reading those of all workers that ever were.
    select last_heartbeat_at, busy_at from worker_heartbeats where worker_id = w.id limit 1
) h on true
left join lateral (
    select count(*) as count, sum(a.cpu_millis)::bigint as cpu_millis, sum(a.memory_bytes)::bigint as memory_bytes,
        sum(a.disk_bytes)::bigint as disk_bytes,
        max(a.claimed_at + make_interval(secs => (e.timeout_ms + e.grace_ms + $1::bigint) / 1000.0)) as deadline
    from attempts a
    join executions e on e.id = a.execution_id
    where a.generation = (select number from running_generation) and a.worker_id = w.id and a.state = 'running'
) held on true
where w.status <> 'terminated'
order by w.id

-- Reads what the polling workers may still take by their own rows: only active ones, within what they recorded when they
-- joined, less what they hold. Besides, since when their servers are paid by the hour, told by this clock, and since when the
-- oldest attempt holds them.
select w.id, w.docker, w.slots, w.cpu_millis, w.memory_bytes, w.disk_bytes, held.count as held, held.cpu_millis as held_cpu_millis,
    held.memory_bytes as held_memory_bytes, held.disk_bytes as held_disk_bytes, held.since as held_since,
    i.server_created_at - make_interval(secs => coalesce(c.ahead_ms, 0) / 1000.0) as paid_since, clock_timestamp() as now
from workers w
left join server_intents i on i.id = w.intent_id
left join provider_clocks c on c.provider = w.provider
cross join lateral (
    select count(*), coalesce(sum(a.cpu_millis), 0)::bigint as cpu_millis,
        coalesce(sum(a.memory_bytes), 0)::bigint as memory_bytes, coalesce(sum(a.disk_bytes), 0)::bigint as disk_bytes,
        min(a.claimed_at) as since
    from attempts a
    where a.generation = (select number from running_generation) and a.worker_id = w.id and a.state = 'running'
) held
where w.id = any($1) and w.status = 'active'

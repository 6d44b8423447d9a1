-- Reads all workers but those that were terminated more than an hour ago, oldest first.
select w.id, w.status, w.provider, w.hostname, w.version, w.slots, w.cpu_millis, w.memory_bytes, w.disk_bytes, w.sandbox,
    w.sandbox_network, w.limits_grade, w.disk_grade, w.created_at, w.reason, h.last_heartbeat_at,
    (
        select count(*) from attempts a
        where a.generation = (select number from running_generation) and a.worker_id = w.id and a.state = 'running'
    ) as running
from workers w
left join worker_heartbeats h on h.worker_id = w.id
where w.status <> 'terminated' or w.terminated_at > now() - interval '1 hour'
order by w.id

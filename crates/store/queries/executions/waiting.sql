-- Reads the facts of which it is said why an execution waits in the queue.
select
    (
        select count(*)
        from queue q
        join lanes l on l.id = q.lane_id
        where l.account_id = e.account_id and (-l.priority, q.age, q.execution_id) < (-e.priority, e.created_at, e.id)
    ) as ahead,
    (select count(*) from workers w where w.status = 'active') as workers_active,
    (select count(*) from workers w where w.status = 'provisioning') as workers_provisioning,
    (
        select coalesce(sum(greatest(w.slots - held.count, 0)), 0)
        from workers w
        cross join lateral (
            select count(*) from attempts a
            where a.generation = (select number from running_generation) and a.worker_id = w.id and a.state = 'running'
        ) held
        where w.status = 'active'
    )::bigint as slots_free,
    exists (
        select from workers w
        where w.status = 'active' and w.slots > 0 and w.cpu_millis >= coalesce(e.cpu_millis, 0)
            and w.memory_bytes >= coalesce(e.memory_bytes, 0) and w.disk_bytes >= coalesce(e.disk_bytes, 0)
    ) as fits_a_worker,
    (
        e.runtime like 'image:%' and not exists (select from workers w where w.status = 'active' and w.docker)
    ) as lacks_docker,
    (
        select b.parallel
        from batches b
        where b.id = e.batch_id
            and b.parallel <= (
                select count(*) from attempts a
                where a.generation = (select number from running_generation) and a.account_id = e.account_id
                    and a.batch_id = b.id and a.state = 'running'
            )
    ) as batch_limit,
    (
        -- The newest worker, if it never joined: what kept it from that keeps the next one too.
        select case when w.joined_at is null and w.status in ('failed', 'terminating', 'terminated') then w.reason end
        from (
            select * from workers
            where status <> 'provisioning' and intent_id is not null
            order by id desc
            limit 1
        ) w
    ) as last_failure
from executions e
where e.account_id = $1 and e.id = $2 and e.status = 'queued'

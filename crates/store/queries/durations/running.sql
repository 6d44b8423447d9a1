-- Reads what runs on workers that take work, to $1: since when it holds its place, and whose durations its own is like.
select a.worker_id, a.claimed_at, a.cpu_millis, a.memory_bytes, a.disk_bytes, (
        select hashtextextended(concat_ws(' ', e.account_id, e.program_kind, e.program), 0)
        from executions e where e.id = a.execution_id
    ) as kind
from attempts a
where a.generation = (select number from running_generation) and a.state = 'running'
    and (select w.status = 'active' from workers w where w.id = a.worker_id)
order by a.account_id
limit $1

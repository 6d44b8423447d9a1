-- Reads executions of an account, newest first.
select e.id, e.account_id, e.batch_id, e.name, e.status, e.program_kind, e.program, e.argv0, e.args, e.cwd,
    e.project_root, e.runtime, e.environment_names, e.stdin, e.cpu_millis, e.memory_bytes, e.disk_bytes, e.timeout_ms, e.grace_ms,
    e.retries, e.priority, e.metadata, e.attempt, e.created_at, e.finished_at, e.cancel_requested_by, e.outcome_kind,
    e.outcome, e.output_files, e.output_bytes, e.not_brought_back, a.worker_id, a.claimed_at, a.preparing, a.image,
    case when e.status = 'pending' then (
        select count(distinct i.sha256)
        from artifacts i
        where i.execution_id = e.id and i.kind = 'input' and i.sha256 is not null
            and not exists (select from blobs b where b.account_id = e.account_id and b.sha256 = i.sha256)
    ) else 0 end as inputs_missing
from executions e
left join attempts a on a.execution_id = e.id and a.number = e.attempt
where e.account_id = $1 and e.id = any($2)
order by e.id desc

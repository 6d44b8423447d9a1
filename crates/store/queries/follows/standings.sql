-- Where many executions stand: status, newest attempt, whether it still prepares, and how much of its log is there.
select e.id, e.status, e.attempt, a.preparing is not null as preparing,
    coalesce(l.stdout_bytes, 0) as stdout_bytes, coalesce(l.stderr_bytes, 0) as stderr_bytes
from executions e
left join attempts a on a.execution_id = e.id and a.number = e.attempt and e.status = 'running'
left join attempt_logs l on l.execution_id = e.id and l.attempt = e.attempt
where e.id = any($1)

-- Where many executions stand: status, newest attempt, and how much of its log is there.
select e.id, e.status, e.attempt, coalesce(l.stdout_bytes, 0) as stdout_bytes, coalesce(l.stderr_bytes, 0) as stderr_bytes
from executions e
left join attempt_logs l on l.execution_id = e.id and l.attempt = e.attempt
where e.id = any($1)

-- The same for many attempts at once: what replicas ask for their followers.
select l.execution_id, l.attempt, l.stdout_bytes, l.stderr_bytes
from unnest($1::text[], $2::integer[]) as followed (execution_id, attempt)
join attempt_logs l on l.execution_id = followed.execution_id and l.attempt = followed.attempt

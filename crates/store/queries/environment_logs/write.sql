-- A current attempt tells where its environment came from; it stays current until this is written. Again is harmless.
insert into environment_logs (execution_id, attempt, origin, log)
select execution_id, number, $5, $6
from attempts
where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4 and state = 'running'
for share
on conflict (execution_id, attempt) do update set origin = excluded.origin, log = excluded.log

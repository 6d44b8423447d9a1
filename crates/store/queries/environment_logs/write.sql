-- A current attempt tells where its environment came from; it stays current until this is written. Again is harmless.
with current as (
    select execution_id, number
    from attempts
    where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4 and state = 'running'
    for share
), text as (
    insert into environment_log_texts (account_id, sha256, log)
    select e.account_id, $7, $6
    from current c
    join executions e on e.id = c.execution_id
    where $6::bytea is not null
    on conflict (account_id, sha256) do nothing
)
insert into environment_logs (execution_id, attempt, origin, account_id, log_sha256)
select c.execution_id, c.number, $5, e.account_id, $7
from current c
join executions e on e.id = c.execution_id
on conflict (execution_id, attempt) do update set origin = excluded.origin, log_sha256 = excluded.log_sha256

-- The attempt that a push proves to be; it stays current until this transaction ends.
select coalesce(e.followed_until > now(), false) as followed
from attempts a
join executions e on e.id = a.execution_id
where a.execution_id = $1 and a.number = $2 and a.worker_id = $3 and a.token_sha256 = $4 and a.state = 'running'
for share of a

-- Reads what is wanted of held attempts. Nothing comes back for one that is not current.
select held.position, a.execution_id, a.number, a.directive_version, e.cancel_requested_by, e.timeout_ms,
    coalesce(e.followed_until > now(), false) as followed
from unnest($1::text[], $2::integer[], $3::bytea[], $4::text[]) with ordinality
    as held (execution_id, number, token_sha256, worker_id, position)
join attempts a on a.execution_id = held.execution_id and a.number = held.number
    and a.token_sha256 = held.token_sha256 and a.worker_id = held.worker_id and a.state = 'running'
join executions e on e.id = a.execution_id

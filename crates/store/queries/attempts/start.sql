-- The runner began with it.
update attempts set started_at = coalesce(started_at, now()), named_at = coalesce(named_at, now())
where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4 and state = 'running'

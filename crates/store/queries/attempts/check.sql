-- Reads whose execution a current attempt works for.
select account_id from attempts
where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4 and state = 'running'

-- Makes a join token that $3 ms later is of no use.
insert into join_tokens (token_sha256, worker_id, expires_at)
values ($1, $2, now() + make_interval(secs => $3::bigint / 1000.0))

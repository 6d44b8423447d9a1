-- Reads what an idempotency key made. One older than $4 ms counts as forgotten.
select body_sha256, created_id
from idempotency_keys
where account_id = $1 and route = $2 and key = $3
    and created_at >= now() - make_interval(secs => $4::bigint / 1000.0)

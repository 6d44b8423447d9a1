-- Reads what an idempotency key made.
select body_sha256, created_id from idempotency_keys where account_id = $1 and route = $2 and key = $3

-- Idempotency keys that are too old to be asked for.
delete from idempotency_keys where created_at < now() - $1::interval

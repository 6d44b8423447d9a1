-- Revokes a key, once.
update api_keys set revoked_at = coalesce(revoked_at, now()) where account_id = $1 and id = $2
returning id, name, role, created_at, last_used_at, revoked_at

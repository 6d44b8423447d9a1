-- Makes a key for people.
insert into api_keys (id, account_id, name, role, secret_sha256) values ($1, $2, $3, $4, $5)
returning id, name, role, created_at, last_used_at, revoked_at

-- Reads an account's keys, oldest first.
select id, name, role, created_at, last_used_at, revoked_at from api_keys where account_id = $1 order by id

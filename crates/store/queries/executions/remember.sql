-- Remembers what a creating request made; nothing comes back when its key already stands there. A twin that has not
-- committed yet is waited for. Keys older than $6 ms count as forgotten.
insert into idempotency_keys (account_id, route, key, body_sha256, created_id) values ($1, $2, $3, $4, $5)
on conflict (account_id, route, key) do update
set body_sha256 = excluded.body_sha256, created_id = excluded.created_id, created_at = now()
where idempotency_keys.created_at < now() - make_interval(secs => $6::bigint / 1000.0)
returning true

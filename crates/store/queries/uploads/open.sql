-- Opens uploads, or finds those that are open already.
insert into uploads (id, account_id, sha256, size_bytes, part_bytes, object_key)
select u.id, $1, u.sha256, u.size_bytes, $2, u.object_key
from unnest($3::text[], $4::bytea[], $5::bigint[], $6::text[]) as u (id, sha256, size_bytes, object_key)
order by u.sha256
on conflict (account_id, sha256, size_bytes) where committed_at is null do update set touched_at = now()
returning id, sha256, size_bytes, part_bytes, object_key, multipart_id

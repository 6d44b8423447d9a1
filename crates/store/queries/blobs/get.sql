-- Where a blob's bytes lie.
select object_key, size_bytes, last_used_at < now() - $3::interval as stale
from blobs
where account_id = $1 and sha256 = $2

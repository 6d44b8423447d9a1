-- Locks blobs that are named against garbage collection, and answers which are here. Changes none: it may run while
-- the arrival of inputs is held off, and must not wait for an upload that waits for that.
select sha256, size_bytes, last_used_at < now() - interval '1 hour' as stale
from blobs
where account_id = $1 and sha256 = any($2)
order by sha256
for key share

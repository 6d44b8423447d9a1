-- Which of these blobs are there; nobody deletes them before this transaction ends.
select sha256, size_bytes, last_used_at < now() - $3 as stale
from blobs
where account_id = $1 and sha256 = any ($2)
order by sha256
for key share

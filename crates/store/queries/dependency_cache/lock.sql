-- Locks an environment; the blob is named only while it is there, and is not the one that was found damaged.
select b.sha256, b.size_bytes
from dependency_cache c
left join blobs b on b.account_id = c.account_id and b.sha256 = c.sha256 and b.sha256 is distinct from $3
where c.account_id = $1 and c.key = $2
for no key update of c

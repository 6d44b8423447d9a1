-- Uploads of the account that are to be committed, and how many of their parts have arrived. From now on they are
-- too young to be collected.
with locked as (
    select id from uploads where account_id = $1 and id = any ($2) order by id for no key update
)
update uploads u set touched_at = now()
from locked
where u.id = locked.id
returning u.id, u.sha256, u.size_bytes, u.part_bytes, u.object_key, u.committed_at is not null as committed,
    exists (select from blobs b where b.account_id = u.account_id and b.sha256 = u.sha256) as is_blob,
    (select count(*) from upload_parts p where p.upload_id = u.id) as parts

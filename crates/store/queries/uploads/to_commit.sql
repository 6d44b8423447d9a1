-- Uploads of the account that are to be committed, and how many of their parts have arrived.
select u.id, u.sha256, u.size_bytes, u.part_bytes, u.object_key, u.multipart_id,
    u.committed_at is not null as committed,
    exists (select from blobs b where b.account_id = u.account_id and b.sha256 = u.sha256) as is_blob,
    (select count(*) from upload_parts p where p.upload_id = u.id) as parts
from uploads u
where u.account_id = $1 and u.id = any ($2)

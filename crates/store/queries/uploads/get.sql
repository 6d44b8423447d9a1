-- An upload, whether it is a blob already, and whether a row says that its part $2 has arrived.
select account_id, sha256, size_bytes, part_bytes, object_key, multipart_id, committed_at is not null as committed,
    exists (select from upload_parts p where p.upload_id = id and p.number = $2) as arrived
from uploads
where id = $1

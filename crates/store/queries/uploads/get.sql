-- An upload, and whether its part $2 needs no more bytes.
select account_id, sha256, size_bytes, part_bytes, object_key,
    committed_at is not null
        or exists (select from upload_parts p where p.upload_id = id and p.number = $2) as arrived
from uploads
where id = $1

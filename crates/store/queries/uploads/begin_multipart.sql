-- Remembers the object store's own id of an upload in parts; where somebody was first, theirs stays.
update uploads set multipart_id = coalesce(multipart_id, $2) where id = $1 and committed_at is null
returning multipart_id

-- Forgets an upload whose bytes are not what was announced: it is sent again from its first byte.
with refused as (
    delete from uploads where id = $1 and committed_at is null returning object_key, multipart_id
)
insert into discarded_objects (object_key, delete_after, multipart_id)
select object_key, now(), multipart_id from refused
on conflict (object_key) do nothing
returning object_key

-- A part has arrived.
with touched as (
    update uploads set touched_at = now() where id = $1 and committed_at is null returning id
)
insert into upload_parts (upload_id, number)
select id, $2 from touched
on conflict do nothing

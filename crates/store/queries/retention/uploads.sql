-- Uploads that nobody has touched since $1 ago. What was committed lies in a blob; the rest is deleted.
with old as (
    select id from uploads where touched_at < now() - $1::interval order by touched_at limit $2
    for update skip locked
), gone as (
    delete from uploads u where u.id = any (array(select id from old))
    returning u.object_key, u.multipart_id, u.committed_at
)
insert into discarded_objects (object_key, delete_after, multipart_id)
select object_key, now(), multipart_id from gone where committed_at is null
on conflict (object_key) do nothing

-- Which of these objects no row names.
select k.object_key
from unnest($1::text[]) as k (object_key)
where not exists (select from blobs b where b.object_key = k.object_key)
    and not exists (select from log_ranges l where l.object_key = k.object_key)
    and not exists (select from stdin_ranges s where s.object_key = k.object_key)
    and not exists (select from uploads u where u.object_key = k.object_key)
    and not exists (select from discarded_objects d where d.object_key = k.object_key)

-- An object that a row names is not deleted, whoever put it on the list.
delete from discarded_objects d
where d.delete_after < now()
    and (exists (select from blobs b where b.object_key = d.object_key)
        or exists (select from log_ranges l where l.object_key = d.object_key)
        or exists (select from stdin_ranges s where s.object_key = d.object_key)
        or exists (select from uploads u where u.object_key = d.object_key and u.committed_at is null))

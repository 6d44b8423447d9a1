-- An object that a row names is not deleted, whoever put it on the list.
delete from discarded_objects d
where d.delete_after < now()
    and coalesce(
        -- Not `exists`: that would read all keys of all tables into memory at each round.
        (select true from blobs b where b.object_key = d.object_key),
        (select true from log_ranges l where l.object_key = d.object_key),
        (select true from stdin_ranges s where s.object_key = d.object_key),
        (select true from uploads u where u.object_key = d.object_key and u.committed_at is null),
        false
    )

-- Whoever deletes a row that names an object, by whatever cascade, puts the object on the list of those to be deleted.
-- A day is left for readers that have just learned its key.

create function discard_object() returns trigger language plpgsql as $$
begin
    insert into discarded_objects (object_key, delete_after)
    values (old.object_key, now() + interval '24 hours')
    on conflict (object_key) do nothing;
    return null;
end
$$;

create trigger blobs_discard after delete on blobs for each row execute function discard_object();
create trigger log_ranges_discard after delete on log_ranges for each row execute function discard_object();
create trigger stdin_ranges_discard after delete on stdin_ranges for each row execute function discard_object();

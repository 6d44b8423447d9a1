-- These objects could not be deleted: others first.
update discarded_objects set delete_after = now() + interval '1 hour' where object_key = any ($1)

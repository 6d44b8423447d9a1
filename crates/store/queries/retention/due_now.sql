-- Objects that need not wait for readers.
update discarded_objects set delete_after = now() where object_key = any ($1)

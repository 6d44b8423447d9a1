-- An object was deleted: its key needs no row any more.
delete from discarded_objects where object_key = any ($1)

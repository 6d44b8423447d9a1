-- An object is about to be made: if nothing comes of it, it is deleted.
insert into discarded_objects (object_key, delete_after) values ($1, now() + interval '24 hours')

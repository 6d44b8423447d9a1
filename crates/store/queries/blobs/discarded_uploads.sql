-- Those of these objects whose upload in parts may still be open.
select object_key, multipart_id from discarded_objects where object_key = any ($1) and multipart_id is not null

-- The object store's own id of an upload in parts, where the store has such (S3). It goes with the object's key onto
-- the list of what is to be deleted: an upload that is not completed keeps its parts until it is ended by its id.

alter table uploads add column multipart_id text collate "C";
alter table discarded_objects add column multipart_id text collate "C";

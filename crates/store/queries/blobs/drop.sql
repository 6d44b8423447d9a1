-- Forgets a blob whose object is damaged; not one that was repaired meanwhile.
delete from blobs where account_id = $1 and sha256 = $2 and object_key = $3

-- Objects whose time has come.
select object_key from discarded_objects where delete_after < now() order by delete_after limit $1

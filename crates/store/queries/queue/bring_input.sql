-- Commits of blobs do not wait for each other, only for submissions that found something missing.
select pg_advisory_xact_lock_shared($1::integer, hashtext($2::text))

-- Holds off the commits of an account's blobs until this transaction ends.
select pg_advisory_xact_lock($1::integer, hashtext($2::text))

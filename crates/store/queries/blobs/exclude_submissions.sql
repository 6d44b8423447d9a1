-- Waits for every submission that has looked for its blobs and is not visible yet.
select pg_advisory_xact_lock(hashtextextended('blobs of ' || $1, 0))

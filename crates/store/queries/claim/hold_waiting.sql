-- Waits until nobody is making a lane wait, and keeps it so until the transaction ends. A statement of its own: the snapshot
-- of the next one sees what they made.
select pg_advisory_xact_lock($1::integer, 0)

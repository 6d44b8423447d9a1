-- Holds the claim lock until the transaction ends. A statement of its own: the snapshot of the next one must be younger
-- than the lock, else what others have claimed meanwhile is not counted.
select pg_advisory_xact_lock($1::integer, 0)

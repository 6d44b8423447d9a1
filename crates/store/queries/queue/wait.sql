-- Holds off the next generation of waiting lanes until the transaction ends. Before any lane's row is locked: who begins the next
-- one changes them all.
select pg_advisory_xact_lock_shared($1::integer, 0)

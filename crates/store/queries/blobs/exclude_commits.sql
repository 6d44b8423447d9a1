-- Until this transaction ends no upload of the account is committed, so that none is missed.
select pg_advisory_xact_lock_shared(hashtextextended('blobs of ' || $1, 0))

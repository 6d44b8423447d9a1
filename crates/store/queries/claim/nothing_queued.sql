-- Is there nothing to claim? Asked before the lock is taken.
select not exists (select from queue)

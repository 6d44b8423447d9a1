-- Waits for no row long enough that PostgreSQL would look for a deadlock (a second by default) and fail somebody else.
select set_config('lock_timeout', '500ms', true)

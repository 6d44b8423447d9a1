-- An attempt's log, before its first byte.
insert into attempt_logs (execution_id, attempt) values ($1, $2) on conflict do nothing

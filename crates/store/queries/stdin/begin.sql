-- The stdin of an execution that takes one and has not ended, before its first byte.
insert into stdin_streams (execution_id)
select id from executions
where id = $1 and account_id = $2 and stdin and finished_at is null
on conflict do nothing

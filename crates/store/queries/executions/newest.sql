-- Reads the newest execution of an account.
select id from executions where account_id = $1 order by id desc limit 1

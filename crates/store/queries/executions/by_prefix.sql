-- Reads the newest executions whose ids begin so: from $2 up to and without $3.
select id from executions where account_id = $1 and id >= $2 and id < $3 order by id desc limit $4

-- Reads the workers of an execution's lost attempts, oldest first.
select worker_id from attempts where execution_id = $1 and state = 'lost' order by number

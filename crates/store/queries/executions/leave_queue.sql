-- Takes an execution out of the queue. Before its own row is touched: the claim locks in that order too.
delete from queue q using executions e
where e.id = $2 and e.account_id = $1
    and q.lane_id = e.lane_id and q.age = e.created_at and q.execution_id = e.id

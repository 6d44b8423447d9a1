-- Whether attempt $3 of an execution may still write, and whether another will follow.
select e.attempt as newest, e.status,
    exists (
        select from attempts a where a.execution_id = e.id and a.number = $3 and a.state = 'running'
    ) as writing
from executions e
where e.id = $1 and e.account_id = $2

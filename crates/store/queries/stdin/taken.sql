-- Whether an execution takes stdin, and where it stood if any came.
select e.stdin, s.received_bytes
from executions e
left join stdin_streams s on s.execution_id = e.id
where e.id = $1 and e.account_id = $2

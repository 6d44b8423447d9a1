-- Locks the pending executions that name a blob.
select e.id
from executions e
where e.account_id = $1 and e.status = 'pending'
    and exists (
        select from artifacts a where a.execution_id = e.id and a.kind = 'input' and a.sha256 = $2
    )
order by e.id
for update

-- Locks the pending executions that name one of these blobs.
select e.id
from executions e
where e.account_id = $1 and e.status = 'pending'
    and exists (
        select from artifacts a where a.execution_id = e.id and a.kind = 'input' and a.sha256 = any($2)
    )
order by e.id
for update

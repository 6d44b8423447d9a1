-- Reads the blobs of a pending execution that are not here.
select distinct a.sha256, a.size_bytes
from executions e
join artifacts a on a.execution_id = e.id and a.kind = 'input' and a.sha256 is not null
where e.id = $1 and e.status = 'pending'
    and not exists (select from blobs b where b.account_id = e.account_id and b.sha256 = a.sha256)
order by a.sha256

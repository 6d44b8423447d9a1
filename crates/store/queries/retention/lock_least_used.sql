-- Blobs in the order of their last use, longest ago first, that no execution which may still run names.
select b.account_id, b.sha256, b.size_bytes
from blobs b
where b.last_used_at < now() - $1::interval
    and not exists (
        select from artifacts a
        join executions e on e.id = a.execution_id
        where a.sha256 = b.sha256 and e.account_id = b.account_id and e.finished_at is null
    )
order by b.last_used_at
limit $2
for update of b skip locked

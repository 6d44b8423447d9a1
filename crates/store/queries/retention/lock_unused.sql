-- Blobs that were not used since $1 ago and that no execution names; of every account, or of one.
select b.account_id, b.sha256, b.size_bytes
from blobs b
where b.last_used_at < now() - $1::interval and ($2::text is null or b.account_id = $2)
    and not exists (
        select from artifacts a
        join executions e on e.id = a.execution_id
        where a.sha256 = b.sha256 and e.account_id = b.account_id
    )
    and not exists (
        select from dependency_cache c where c.account_id = b.account_id and c.sha256 = b.sha256 and c.sha256 is not null
    )
order by b.last_used_at
limit $3
for update of b skip locked

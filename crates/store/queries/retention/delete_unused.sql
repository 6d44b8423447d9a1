-- Deletes locked blobs that still nobody names: a submission that held them when they were looked for is visible now.
delete from blobs b
using unnest($1::text[], $2::bytea[]) as locked (account_id, sha256)
where b.account_id = locked.account_id and b.sha256 = locked.sha256
    and not exists (
        select from artifacts a
        join executions e on e.id = a.execution_id
        where a.sha256 = b.sha256 and e.account_id = b.account_id and ($3 or e.finished_at is null)
    )
    and not ($3 and exists (
        select from dependency_cache c where c.account_id = b.account_id and c.sha256 = b.sha256 and c.sha256 is not null
    ))
returning b.size_bytes, b.object_key

-- Queues those of the locked executions whose inputs are all here.
update executions e set status = 'queued'
where e.id = any($1) and e.status = any($2)
    and not exists (
        select from artifacts a
        where a.execution_id = e.id and a.kind = 'input' and a.sha256 is not null
            and not exists (select from blobs b where b.account_id = e.account_id and b.sha256 = a.sha256)
    )
returning e.id

-- Reads named files of an execution by kind and path, after ($4, $5).
select a.kind, a.path, a.entry, a.sha256, a.size_bytes, a.mode, a.modified_ns, a.target
from executions e
join artifacts a on a.execution_id = e.id
where e.account_id = $1 and e.id = $2 and ($3::text is null or a.kind = $3)
    and ($4::text is null or (a.kind, a.path) > ($4, $5::text))
order by a.kind, a.path
limit $6

-- The bytes behind a path: what the script wrote there, else what was sent.
select a.sha256
from artifacts a
join executions e on e.id = a.execution_id
where a.execution_id = $1 and e.account_id = $2 and a.path = $3 and a.kind in ('output', 'input')
    and a.sha256 is not null
order by a.kind = 'output' desc
limit 1

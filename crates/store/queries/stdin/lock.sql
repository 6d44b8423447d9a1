-- Where a stdin stands; nobody else writes it before this transaction ends.
select s.received_bytes, s.read_bytes, s.eof
from stdin_streams s
join executions e on e.id = s.execution_id
where s.execution_id = $1 and e.account_id = $2 and e.finished_at is null
for update of s

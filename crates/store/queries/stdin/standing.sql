-- Where the stdin of an attempt that is current stands.
select e.stdin, coalesce(s.received_bytes, 0) as received_bytes, coalesce(s.eof, false) as eof,
    coalesce(s.tail_bytes, 0) as tail_bytes
from attempts a
join executions e on e.id = a.execution_id
left join stdin_streams s on s.execution_id = a.execution_id
where a.execution_id = $1 and a.number = $2 and a.worker_id = $3 and a.token_sha256 = $4 and a.state = 'running'

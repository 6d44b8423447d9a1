-- A whole log from its end, in one snapshot: chunks in rows, and the ranges that hold those before them.
select seq, null as object_key, at, stream, start_byte, end_byte, bytes
from log_chunks
where execution_id = $1 and attempt = $2
union all
select first_seq, object_key, at, null, null, null, null
from log_ranges
where execution_id = $1 and attempt = $2
order by seq desc

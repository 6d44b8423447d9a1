-- What follows a cursor, in one snapshot: the first range that holds some of it, or else all chunks.
with first_range as (
    select first_seq, stdout_end, stderr_end, at, object_key
    from log_ranges
    where execution_id = $1 and attempt = $2 and (stdout_end > $3 or stderr_end > $4)
    order by first_seq
    limit 1
)
select first_seq as seq, object_key, stdout_end, stderr_end, at,
    null as stream, null::bigint as start_byte, null::bigint as end_byte, null::bytea as bytes
from first_range
union all
select seq, null, null, null, at, stream, start_byte, end_byte, bytes
from log_chunks
where execution_id = $1 and attempt = $2
    and (stream = 'stdout' and end_byte > $3 or stream = 'stderr' and end_byte > $4)
    and not exists (select from first_range)
order by seq

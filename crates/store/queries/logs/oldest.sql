-- The oldest chunks in rows: as many as leave at most $3 bytes and $4 chunks after them.
select seq, stream, start_byte, end_byte, bytes, at
from (
    select c.*,
        sum(octet_length(c.bytes)) over newest_first as bytes_from_here,
        row_number() over newest_first as chunks_from_here
    from log_chunks c
    where c.execution_id = $1 and c.attempt = $2
    window newest_first as (order by c.seq desc)
) c
where bytes_from_here > $3 or chunks_from_here > $4
order by seq

-- Chunks from byte $2 on, as many as hold $3 bytes.
select start_byte, bytes
from (
    select start_byte, end_byte, bytes, sum(end_byte - start_byte) over (order by end_byte) as bytes_to_here
    from stdin_chunks
    where execution_id = $1 and end_byte > $2
) c
where bytes_to_here - (end_byte - start_byte) < $3
order by end_byte

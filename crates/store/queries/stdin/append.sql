-- Appends chunks to a stdin.
with appended as (
    update stdin_streams
    set received_bytes = $2, eof = $3, tail_bytes = tail_bytes + $4, sha256 = coalesce($8, sha256)
    where execution_id = $1
)
insert into stdin_chunks (execution_id, start_byte, end_byte, bytes)
select $1, c.start_byte, c.end_byte, c.bytes
from unnest($5::bigint[], $6::bigint[], $7::bytea[]) as c (start_byte, end_byte, bytes)

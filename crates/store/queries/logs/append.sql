-- Appends chunks, and says where the log stands after them.
with appended as (
    update attempt_logs
    set stdout_bytes = $3, stderr_bytes = $4, next_seq = $5,
        kept_bytes = kept_bytes + $6, tail_bytes = tail_bytes + $6, tail_chunks = tail_chunks + $7
    where execution_id = $1 and attempt = $2
)
insert into log_chunks (execution_id, attempt, stream, start_byte, end_byte, seq, bytes, at)
select $1, $2, c.stream, c.start_byte, c.end_byte, c.seq, c.bytes, c.at
from unnest($8::text[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bytea[], $13::timestamptz[])
    as c (stream, start_byte, end_byte, seq, bytes, at)

-- Chunks $3 up to and without $4 lie in an object now. Nothing happens unless all $5 of them are still in rows.
with moved as (
    delete from log_chunks
    where execution_id = $1 and attempt = $2 and seq >= $3 and seq < $4
    returning octet_length(bytes) as size
), state as (
    update attempt_logs
    set tail_bytes = tail_bytes - (select coalesce(sum(size), 0) from moved), tail_chunks = tail_chunks - $5
    where execution_id = $1 and attempt = $2
), kept as (
    delete from discarded_objects where object_key = $6
)
insert into log_ranges
    (execution_id, attempt, first_seq, end_seq, stdout_end, stderr_end, at, size_bytes, object_key)
select $1, $2, $3, $4, $7, $8, $9, $10, $6
where (select count(*) from moved) = $5

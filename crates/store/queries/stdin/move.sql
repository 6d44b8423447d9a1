-- Chunks between bytes $2 and $3 lie in an object now. Nothing happens unless all of them are still in rows.
with moved as (
    delete from stdin_chunks
    where execution_id = $1 and start_byte >= $2 and end_byte <= $3
    returning end_byte - start_byte as size
), state as (
    update stdin_streams set tail_bytes = tail_bytes - ($3 - $2) where execution_id = $1
), kept as (
    delete from discarded_objects where object_key = $4
)
insert into stdin_ranges (execution_id, start_byte, end_byte, object_key)
select $1, $2, $3, $4
where (select sum(size) from moved) = $3 - $2

-- Chunks that were read, to be moved.
select start_byte, end_byte, bytes from stdin_chunks
where execution_id = $1 and end_byte <= $2
order by end_byte

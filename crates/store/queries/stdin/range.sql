-- The object that holds byte $2.
select start_byte, object_key from stdin_ranges
where execution_id = $1 and end_byte > $2
order by end_byte
limit 1

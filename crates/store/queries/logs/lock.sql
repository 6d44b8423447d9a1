-- Where an attempt's log stands; nobody else appends or moves before this transaction ends.
select stdout_bytes, stderr_bytes, next_seq, kept_bytes, tail_bytes, tail_chunks
from attempt_logs
where execution_id = $1 and attempt = $2
for update

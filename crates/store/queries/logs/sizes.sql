-- How many bytes of each stream an attempt has pushed.
select stdout_bytes, stderr_bytes from attempt_logs where execution_id = $1 and attempt = $2

-- Ends the current attempt as its runner said.
update attempts set state = 'ended', ended_at = now(), started_at = coalesce(started_at, claimed_at), outcome_kind = $3,
    outcome = $4, manifest_sha256 = $5, stdout_bytes = $6, stderr_bytes = $7, peak_memory_bytes = $8, cpu_ms = $9
where execution_id = $1 and number = $2 and state = 'running'

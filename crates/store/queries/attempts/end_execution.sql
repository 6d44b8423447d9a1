-- Ends an execution with its last attempt.
update executions set status = $2, outcome_kind = $3, outcome = $4, finished_at = now(), output_files = $5,
    output_bytes = $6, not_brought_back = $7
where id = $1 and status = any($8)

-- Ends an execution that no attempt holds.
update executions
set status = $3, outcome_kind = $4, outcome = $5, finished_at = now(), cancel_requested_by = $6
where account_id = $1 and id = $2 and status = any($7)

-- Locks an execution and reads what decides about the end of an attempt. A statement of its own: what is read of its
-- attempts afterwards is younger than the lock.
select account_id, status, attempt, retries, retry_on, cancel_requested_by, stdin, reuse_place, reuse_question, reuse_key,
    project_root || output_roots || outputs as places
from executions where id = $1 for update

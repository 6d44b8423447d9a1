-- Reads the attempts of an execution, oldest first.
select a.execution_id, a.number, a.worker_id, a.placed_by, a.claimed_at, a.started_at, a.ended_at, a.state,
    a.outcome_kind, a.outcome, a.image
from executions e
join attempts a on a.execution_id = e.id
where e.account_id = $1 and e.id = $2
order by a.number

-- Asks the current attempt to end, once: the first who asks is remembered.
with asked as (
    update executions set cancel_requested_by = $3
    where account_id = $1 and id = $2 and status = any($4) and cancel_requested_by is null
    returning id, attempt
)
update attempts a set directive_version = directive_version + 1
from asked
where a.execution_id = asked.id and a.number = asked.attempt and a.state = 'running'

-- Lets an execution run longer, to $5 ms at most, and tells its attempt.
with extended as (
    update executions set timeout_ms = timeout_ms + $3
    where account_id = $1 and id = $2 and status = any($4) and timeout_ms + $3 <= $5
    returning id, attempt
),
told as (
    update attempts a set directive_version = directive_version + 1
    from extended
    where a.execution_id = extended.id and a.number = extended.attempt and a.state = 'running'
)
select id from extended

-- Somebody follows for $2 ms more. Its attempt is told when nobody did.
with before as (
    select id, attempt, followed_until from executions where id = $1 and finished_at is null for no key update
),
followed as (
    update executions e set followed_until = now() + make_interval(secs => $2::bigint / 1000.0)
    from before
    where e.id = before.id
),
told as (
    update attempts a set directive_version = directive_version + 1
    from before
    where a.execution_id = before.id and a.number = before.attempt and a.state = 'running'
        and (before.followed_until is null or before.followed_until < now())
    returning 1
)
select exists (select from told)

-- Somebody follows for $2 ms more. Its attempt is told when nobody did. While more than two thirds of that are left
-- nothing is written: a follower that comes right after the submission must not stand in the claim's way.
with before as (
    select id, attempt, followed_until
    from executions
    where id = $1 and finished_at is null
        and (followed_until is null or followed_until < now() + make_interval(secs => $2::bigint / 1500.0))
    for no key update
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

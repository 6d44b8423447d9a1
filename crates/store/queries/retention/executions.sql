-- Executions that ended before their retention, with all that belongs to them; of every account, or of one.
with expired as (
    select id from executions
    where finished_at < now() - $1::interval and ($2::text is null or account_id = $2)
        -- Somebody takes its outputs.
        and (followed_until is null or followed_until < now())
    order by finished_at
    limit $3
    for update skip locked
)
delete from executions e using expired where e.id = expired.id

-- Reads for how long attempts held their places, of the newest $2 executions that ended after $1, the newest first: the attempts
-- that ended by themselves.
select greatest(extract(epoch from a.ended_at - a.claimed_at) * 1000, 0)::bigint as held_for_ms, e.finished_at,
    hashtextextended(concat_ws(' ', e.account_id, e.program_kind, e.program), 0) as kind
from (
    select id, attempt, account_id, program_kind, program, outcome_kind, finished_at
    from executions
    where finished_at > coalesce($1::timestamptz, '-infinity')
    order by finished_at desc
    limit $2
) e
cross join lateral (
    -- The limit keeps it from reading the attempts of all that ever ended.
    select claimed_at, ended_at from attempts
    where execution_id = e.id and number = e.attempt and state = 'ended'
    limit 1
) a
where e.outcome_kind <> 'cancelled'
order by e.finished_at desc

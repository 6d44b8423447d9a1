-- Reads the attempts that held a part of a billed server since $1, by its provider's clock: of executions that ended since
-- then, that wait to be tried again, or that run. What asked for nothing in particular held its worker's share.
with ran as (
    select id from executions where finished_at >= $1::timestamptz - interval '1 day'
    union
    select execution_id from queue
    union
    select execution_id from attempts
    where generation = (select number from running_generation) and state = 'running'
)
select held.*
from (
    select a.account_id, a.execution_id, a.number, coalesce(e.name, e.program) as name, i.id as intent_id, i.name as server,
        case when a.cpu_millis > 0 then a.cpu_millis else w.cpu_millis / greatest(w.slots, 1) end as cpu_millis,
        a.claimed_at + make_interval(secs => coalesce(c.ahead_ms, 0) / 1000.0) as held_from,
        coalesce(a.ended_at, clock_timestamp()) + make_interval(secs => coalesce(c.ahead_ms, 0) / 1000.0) as held_to
    from ran
    join executions e on e.id = ran.id
    join attempts a on a.execution_id = e.id
    join workers w on w.id = a.worker_id
    join server_intents i on i.id = w.intent_id and i.name is not null
    left join provider_clocks c on c.provider = i.provider
) held
where held.held_to > $1
order by held.execution_id desc, held.number

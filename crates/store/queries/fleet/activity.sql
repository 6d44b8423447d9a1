-- Reads what keeps a grid awake: open executions (counted to $1), followers, and the last thing that happened.
select
    now() as now,
    (select count(*) from executions where status = 'pending')
        + (select count(*) from (select from queue limit $1) waiting)
        + (
            select count(*) from attempts
            where generation = (select number from running_generation) and state = 'running'
        ) as open_executions,
    (
        -- Not a join: it must never begin at the executions.
        select count(*) from attempts a
        where a.generation = (select number from running_generation) and a.state = 'running'
            and (select e.followed_until > now() from executions e where e.id = a.execution_id)
    ) as followed_executions,
    greatest(
        (select max(created_at) from (select created_at from executions order by id desc limit 1) newest),
        (select max(finished_at) from executions where finished_at is not null),
        (select max(last_used_at) from blobs),
        (select max(touched_at) from uploads)
    ) as last_activity_at,
    o.last_beat_at, o.last_gap_end
from api_outage o

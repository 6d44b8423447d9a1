-- Reads the heads of the lanes that could be claimed from: what fits one of the offers ($1 to $3: CPU, memory and disk of
-- each; $7: whether it runs images), within the limits of batches, up to $4 a lane and $5 lanes an account. Besides, of
-- each account, the first lane that fits nothing now and has waited $6 ms: it may reserve a worker. What runs is counted,
-- never stored, once for all lanes. No execution in a lane's queue is older than the lane's known head: what has left it is
-- not walked through. Conditions that a lane must meet stand as subqueries of one value, so that the planner expects many
-- lanes to meet them and walks through the lanes in their order: as joins it expects one, and sorts all lanes to find it.
with recursive waiting_account as (
    -- The accounts that have anything queued, one step of the index each.
    (
        select account_id from lanes
        where generation = (select number from waiting_generation) and head_age is not null
        order by account_id
        limit 1
    )
    union all
    select (
        select l.account_id from lanes l
        where l.generation = (select number from waiting_generation) and l.head_age is not null
            and l.account_id > w.account_id
        order by l.account_id
        limit 1
    )
    from waiting_account w
    where w.account_id is not null
),
offer as (
    select *
    from unnest($1::integer[], $2::bigint[], $3::bigint[], $7::boolean[])
        as o (cpu_millis, memory_bytes, disk_bytes, docker)
),
running as materialized (
    select w.account_id, r.batch_id, r.count
    from waiting_account w
    cross join lateral (
        select r.batch_id, count(*)::integer as count from attempts r
        where r.generation = (select number from running_generation) and r.account_id = w.account_id
            and r.state = 'running'
        group by r.batch_id
    ) r
),
account as materialized (
    select account_id, sum(count)::integer as running
    from (select account_id, count from running union all select account_id, 0 from waiting_account) r
    where account_id is not null
    group by account_id
),
full_batch as materialized (
    select r.batch_id as id
    from running r
    where r.count >= (select b.parallel from batches b where b.id = r.batch_id)
),
chosen as materialized (
    select a.running, lane.*, (select b.parallel from batches b where b.id = lane.batch_id) - (
        select count(*)::integer from attempts r where r.generation = (select number from running_generation)
            and r.account_id = lane.account_id and r.batch_id = lane.batch_id and r.state = 'running'
    ) as batch_room
    from account a
    cross join lateral (
        (
            select l.*
            from lanes l
            where l.generation = (select number from waiting_generation) and l.account_id = a.account_id
                and l.head_age is not null
                and (l.batch_id is null or l.batch_id not in (select id from full_batch))
                and (
                    select bool_or(
                        o.cpu_millis >= l.cpu_millis and o.memory_bytes >= l.memory_bytes
                        and o.disk_bytes >= l.disk_bytes and (o.docker or l.sandbox <> 'docker')
                    )
                    from offer o
                )
                and (select true from queue q where q.lane_id = l.id and q.age >= l.head_age limit 1)
            order by l.priority desc, l.head_age
            limit $5
        )
        union all
        (
            select l.*
            from lanes l
            where l.generation = (select number from waiting_generation) and l.account_id = a.account_id
                and l.head_age < now() - make_interval(secs => $6::bigint / 1000.0)
                and (l.batch_id is null or l.batch_id not in (select id from full_batch))
                and not (
                    select bool_or(
                        o.cpu_millis >= l.cpu_millis and o.memory_bytes >= l.memory_bytes
                        and o.disk_bytes >= l.disk_bytes and (o.docker or l.sandbox <> 'docker')
                    )
                    from offer o
                )
                and (select true from queue q where q.lane_id = l.id and q.age >= l.head_age limit 1)
            order by l.priority desc, l.head_age
            limit 1
        )
    ) lane
)
select clock_timestamp() as now, c.running, c.id as lane_id, c.account_id, c.batch_id, c.priority, c.cpu_millis,
    c.memory_bytes, c.disk_bytes, c.sandbox, c.batch_room, head.age, head.execution_id
from chosen c
cross join lateral (
    select q.age, q.execution_id
    from queue q
    where q.lane_id = c.id and q.age >= c.head_age
    order by q.age, q.execution_id
    limit least($4, coalesce(c.batch_room, $4))
) head

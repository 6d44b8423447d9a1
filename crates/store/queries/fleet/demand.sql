-- Reads what waits and limits would let run, per lane, counted to $1, of the $2 lanes that wait longest; of it, what has
-- waited for $3 ms; and what it is alike with in its durations, where its first and its last are of one script: a lane without
-- a batch may hold anything.
with running as materialized (
    select batch_id, count(*) as count
    from attempts
    where generation = (select number from running_generation) and state = 'running' and batch_id is not null
    group by batch_id
)
select l.account_id, l.batch_id, l.priority, l.cpu_millis, l.memory_bytes, l.disk_bytes, waiting.count, waiting.impatient,
    waiting.oldest, case when kinds.first = kinds.last then kinds.first end as kind
from lanes l
cross join lateral (select (select parallel from batches where id = l.batch_id) as parallel) b
left join running r on r.batch_id = l.batch_id
cross join lateral (
    select count(*), count(*) filter (where q.age <= now() - make_interval(secs => $3::bigint / 1000.0)) as impatient,
        min(q.age) as oldest
    from (
        select age from queue where lane_id = l.id and age >= l.head_age order by age
        limit least($1, case when b.parallel is not null then greatest(b.parallel - coalesce(r.count, 0), 0) end)
    ) q
) waiting
cross join lateral (
    -- Not joins: they must never begin at the executions.
    select (
        select hashtextextended(concat_ws(' ', e.account_id, e.program_kind, e.program), 0)
        from executions e
        where e.id = (select execution_id from queue where lane_id = l.id and age >= l.head_age order by age, execution_id limit 1)
    ) as first, (
        select hashtextextended(concat_ws(' ', e.account_id, e.program_kind, e.program), 0)
        from executions e
        where e.id = (select execution_id from queue where lane_id = l.id order by age desc, execution_id desc limit 1)
    ) as last
) kinds
where l.generation = (select number from waiting_generation) and l.head_age is not null and waiting.count > 0
order by l.head_age
limit $2

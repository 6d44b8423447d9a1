-- Makes the lanes of just queued executions known as waiting since the oldest of them. Locks in order of the id, so
-- that two of these do not wait for each other.
with added as (
    select lane_id, min(created_at) as age from executions where id = any($1) group by lane_id
),
late as (
    select l.id, added.age
    from lanes l
    join added on added.lane_id = l.id
    where l.head_age is null or l.head_age > added.age
    order by l.id
    for no key update of l
)
update lanes set head_age = late.age from late where lanes.id = late.id

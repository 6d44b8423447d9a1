-- Locks those of the lanes whose first execution is much younger than their known head, against everybody who is just queueing
-- into one: what that would bring may be older than what is first now. Nobody is waited for; a lane that is left out costs
-- a look the next time.
select l.id
from unnest($1::bigint[]) as k (id)
join lanes l on l.id = k.id
where l.head_age + interval '1 second' < (
    select q.age from queue q where q.lane_id = l.id and q.age >= l.head_age order by q.age limit 1
)
order by l.id
for update of l skip locked

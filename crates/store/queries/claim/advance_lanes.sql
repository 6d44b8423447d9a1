-- Moves the known heads of the locked lanes up to what is first in them now: a statement later than their lock.
update lanes l set head_age = first.age
from lanes known
cross join lateral (
    select q.age from queue q where q.lane_id = known.id and q.age >= known.head_age order by q.age limit 1
) first
where known.id = any($1) and l.id = known.id and l.head_age < first.age

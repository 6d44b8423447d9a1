-- Moves the known heads of lanes up to what is first in them now, when that is much younger. Only a hint for the order
-- of lanes: one that is too old costs a look, one that is too new by a submission in flight costs its place among lanes.
-- Never waits: a lane that somebody is changing is left for the next time.
with free as (
    select id, head_age from lanes where id = any($1) order by id for no key update skip locked
),
first as (
    select f.id, (select q.age from queue q where q.lane_id = f.id order by q.age limit 1) as age from free f
)
update lanes l set head_age = first.age
from first
where l.id = first.id and l.head_age < first.age - interval '1 second'

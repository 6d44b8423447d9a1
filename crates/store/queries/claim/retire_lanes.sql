-- Locks lanes that look empty, against everybody who is just queueing into one (the queue's foreign key locks the lane
-- for key share). Those that are being queued into are left alone. The order is that of the index of waiting lanes: lanes
-- that were empty before are not looked at, and nobody is waited for.
select l.id
from lanes l
where l.generation = (select number from waiting_generation) and l.head_age is not null
    and not exists (select from queue q where q.lane_id = l.id and q.age >= l.head_age)
order by l.account_id, l.priority desc, l.head_age
limit $1
for update skip locked

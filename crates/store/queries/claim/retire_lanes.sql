-- Locks lanes that look empty, against everybody who is just queueing into one (the queue's foreign key locks the lane
-- for key share). Those that are being queued into are left alone.
select l.id
from lanes l
where l.head_age is not null and not exists (select from queue q where q.lane_id = l.id)
order by l.id
limit $1
for update skip locked

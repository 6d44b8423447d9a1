-- Calls those of the locked lanes empty that still are: a statement later than their lock.
update lanes l set head_age = null
where l.id = any($1) and not exists (select from queue q where q.lane_id = l.id)

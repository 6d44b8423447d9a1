-- Puts executions into their lanes. One that is queued again keeps its place.
insert into queue (lane_id, age, execution_id)
select lane_id, created_at, id from executions where id = any($1)
on conflict do nothing

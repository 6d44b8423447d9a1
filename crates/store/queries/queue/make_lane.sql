-- Makes the lane of a class, or reads the one that was made meanwhile.
insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (account_id, coalesce(batch_id, ''), priority, cpu_millis, memory_bytes, disk_bytes, sandbox)
do update set priority = excluded.priority
returning id

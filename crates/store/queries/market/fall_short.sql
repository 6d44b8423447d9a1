-- A worker joined with less than its type promises.
insert into type_shortfalls (provider, machine_type, promised_cpu_millis, promised_memory_bytes, promised_disk_bytes,
    cpu_millis, memory_bytes, disk_bytes, joined_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, now())
on conflict (provider, machine_type) do update set cpu_millis = excluded.cpu_millis, memory_bytes = excluded.memory_bytes,
    disk_bytes = excluded.disk_bytes, joined_at = excluded.joined_at

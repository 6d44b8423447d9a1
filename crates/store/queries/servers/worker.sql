-- Writes the worker of an ordered server, with what its type promises.
insert into workers (id, intent_id, provider, status, reason, slots, cpu_millis, memory_bytes, disk_bytes)
values ($1, $2, $3, 'provisioning', $4, $5, $6, $7, $8)

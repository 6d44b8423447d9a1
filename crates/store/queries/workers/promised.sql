-- Reads what the type of a worker's server promises; nothing for a worker that is not bought.
select i.provider, i.machine_type, w.slots, w.cpu_millis, w.memory_bytes, w.disk_bytes
from workers w
join server_intents i on i.id = w.intent_id
where w.id = $1 and i.machine_type is not null and w.status in ('provisioning', 'active')

-- Reads which types brought less than they promised.
select machine_type, promised_cpu_millis, promised_memory_bytes, promised_disk_bytes, cpu_millis, memory_bytes, disk_bytes,
    joined_at
from type_shortfalls where provider = $1 order by machine_type

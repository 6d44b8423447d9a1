-- Reads the sizes of the workers in the states $1, each once.
select distinct cpu_millis, memory_bytes, disk_bytes from workers
where status = any($1) and status <> 'terminated'

-- A worker joins, or joins again before its first heartbeat with a new credential.
update workers set status = 'active', status_since = now(), reason = null, hostname = $2, version = $3, slots = $4,
    cpu_millis = $5, memory_bytes = $6, disk_bytes = $7, sandbox = $8, sandbox_network = $9, limits_grade = $10,
    disk_grade = $11, credential_sha256 = $12, joined_at = now(), docker = $14
where id = $1 and status = any($13)

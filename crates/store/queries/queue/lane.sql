-- Reads the lane of a class.
select id from lanes
where account_id = $1 and coalesce(batch_id, '') = coalesce($2::text, '') and priority = $3 and cpu_millis = $4
    and memory_bytes = $5 and disk_bytes = $6 and sandbox = $7

-- Environments that nobody has used since $1 ago. Their blobs go as any that nothing names.
delete from dependency_cache
where ctid = any (array(
    select ctid from dependency_cache where last_used_at < now() - $1::interval
    order by last_used_at
    limit $2
    for update skip locked
))

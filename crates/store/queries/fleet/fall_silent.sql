-- A worker is dead unless a heartbeat came that is newer than the one ($5) by which that was decided.
update workers w set status = $2, status_since = now(), reason = $3
where w.id = $1 and w.status = any($4)
    and not exists (
        select from worker_heartbeats h
        where h.worker_id = w.id and h.last_heartbeat_at > coalesce($5::timestamptz, '-infinity')
    )

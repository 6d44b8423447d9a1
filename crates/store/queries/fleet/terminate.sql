-- A worker is to be removed, for good, if no attempt of it is open. Its credential dies. Why it died or never joined is
-- what people want to know, and stays.
update workers w set status = $2, status_since = now(), credential_sha256 = null,
    reason = case when w.status in ('dead', 'failed') then w.reason else $3 end
where w.id = $1 and w.status = any($4)
    and not exists (
        select from attempts a
        where a.generation = (select number from running_generation) and a.worker_id = w.id and a.state = 'running'
    )

-- A worker is to be removed, for good, if no attempt of it is open. Its credential dies.
update workers w set status = $2, status_since = now(), reason = $3, credential_sha256 = null
where w.id = $1 and w.status = any($4)
    and not exists (select from attempts a where a.worker_id = w.id and a.state = 'running')

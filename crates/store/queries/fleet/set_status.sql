-- Takes a worker from one of the legal statuses ($4) to another.
update workers set status = $2, status_since = now(), reason = $3 where id = $1 and status = any($4)

-- An attempt of it was lost, handed back or is tried again: it waits once more.
update executions set status = 'queued' where id = $1 and status = any($2)

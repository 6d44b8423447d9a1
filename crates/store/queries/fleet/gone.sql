-- A worker's machine is gone, and so is what was meant to be there.
with worker as (
    update workers set status = $2, status_since = now(), terminated_at = now()
    where id = $1 and status = any($3)
    returning intent_id
),
intent as (
    update server_intents i set ended_at = now() from worker where i.id = worker.intent_id
)
select from worker

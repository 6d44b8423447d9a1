-- Reads the lines of hours that began since $1, with all that the servers have.
select l.intent_id, l.hour_start, l.micros, coalesce(w.cpu_millis, 0) as cpu_millis
from ledger l
left join workers w on w.intent_id = l.intent_id
where l.hour_start >= $1

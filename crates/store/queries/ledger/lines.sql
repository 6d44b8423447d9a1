-- Reads all lines since a moment, with whose they are.
select l.intent_id, i.name, l.item, l.hour_start, l.micros
from ledger l
join server_intents i on i.id = l.intent_id
where l.hour_start >= $1
order by l.hour_start, l.intent_id, l.item

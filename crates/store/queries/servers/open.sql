-- Reads the ordered servers that are not over, and those that are billed still.
select i.id, i.provider, i.name, i.machine_type, i.location, i.server, i.server_created_at, i.ended_at,
    i.server_hour::text, i.server_month::text, i.ipv4_hour::text, i.ipv4_month::text, w.id as worker_id,
    (
        select count(*) from (
            select from ledger l where l.intent_id = i.id and l.item = 'server' and l.hour_start >= i.server_created_at limit 1000000
        ) lines
    ) as hours
from server_intents i
left join workers w on w.intent_id = i.id
where i.name is not null and (i.ended_at is null or i.server is not null and i.server_gone_at is null)
order by i.id

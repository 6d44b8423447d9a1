-- Writes down which server is wanted and what it costs, before it is asked for.
insert into server_intents
    (id, provider, reason, name, epoch, machine_type, location, server_hour, server_month, ipv4_hour, ipv4_month)
select $1, $2, $3, $4, epoch, $5, $6, $7::text::numeric, $8::text::numeric, $9::text::numeric, $10::text::numeric
from grid

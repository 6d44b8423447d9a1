-- Writes lines that are not there yet.
insert into ledger (intent_id, item, hour_start, micros)
select $1, item, hour_start, micros
from unnest($2::text[], $3::timestamptz[], $4::bigint[]) as line (item, hour_start, micros)
on conflict do nothing

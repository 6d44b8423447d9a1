-- Reads what the hours that began since the start of this month (UTC) cost.
select coalesce(sum(micros), 0)::bigint as micros from ledger
where hour_start >= date_trunc('month', now(), 'UTC')

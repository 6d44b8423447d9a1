-- Stops all spending, or allows it again.
update grid set spending_stopped_at = case when $1 then coalesce(spending_stopped_at, now()) end

-- A provider takes no order for a while.
insert into order_pauses (provider, cause, in_a_row, paused_at) values ($1, $2, 1, now())
on conflict (provider) do update set cause = excluded.cause, paused_at = excluded.paused_at,
    in_a_row = case when order_pauses.cause = excluded.cause then order_pauses.in_a_row + 1 else 1 end

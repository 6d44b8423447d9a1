-- Reads why a provider takes no order.
select cause, in_a_row, paused_at from order_pauses where provider = $1

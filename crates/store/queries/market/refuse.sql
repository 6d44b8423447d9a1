-- A provider refused an order of a type at a location.
insert into order_refusals (provider, machine_type, location, in_a_row, refused_at) values ($1, $2, $3, 1, now())
on conflict (provider, machine_type, location)
do update set in_a_row = order_refusals.in_a_row + 1, refused_at = excluded.refused_at

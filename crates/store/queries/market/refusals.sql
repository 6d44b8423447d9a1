-- Reads which orders a provider refused.
select machine_type, location, in_a_row, refused_at from order_refusals where provider = $1 order by machine_type, location

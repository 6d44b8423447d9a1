-- The parts that have arrived.
select upload_id, number from upload_parts where upload_id = any ($1)

-- Committed uploads are not asked which parts they have.
delete from upload_parts where upload_id = any ($1)

-- Writes the worker of an intent.
insert into workers (id, intent_id, provider, status, reason) values ($1, $2, $3, 'provisioning', $4)

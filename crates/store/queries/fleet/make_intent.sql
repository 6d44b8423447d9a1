-- Writes down that a server is wanted, before it is asked for.
insert into server_intents (id, provider, reason) values ($1, $2, $3)

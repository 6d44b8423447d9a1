-- A server is there: it was created, or seen. One that was thought to be gone is billed on.
update server_intents set server = $2, server_created_at = coalesce(server_created_at, $3), server_gone_at = null
where id = $1 and name is not null

-- A server is gone, by the moment $2 at the latest. Reads what it cost.
update server_intents
set server_gone_at = greatest(coalesce(delete_taken_at, $2), server_created_at), ended_at = coalesce(ended_at, now())
where id = $1
returning server_created_at, server_gone_at, server_hour::text, server_month::text, ipv4_hour::text, ipv4_month::text

-- A server is there: it was created, or seen. One that was thought to be gone is billed on. The first time its price is
-- captured, where that is told.
update server_intents set server = $2, server_gone_at = null,
    server_hour = case when server_created_at is null then coalesce($4::text::numeric, server_hour) else server_hour end,
    server_month = case when server_created_at is null then coalesce($5::text::numeric, server_month) else server_month end,
    server_created_at = coalesce(server_created_at, $3)
where id = $1 and name is not null

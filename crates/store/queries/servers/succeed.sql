-- Another server of an order takes the place of one that is gone: what it costs begins anew. The lines of the first stay.
update server_intents set server_created_at = null, delete_taken_at = null, server_gone_at = null where id = $1

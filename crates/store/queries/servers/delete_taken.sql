-- The provider took a delete: what comes after is not billed.
update server_intents set delete_taken_at = coalesce(delete_taken_at, $2) where id = $1

-- Reads whether an order had another server before the one of id $2, which was made at $3; and whether that is billed still.
select server_gone_at is null as is_billed
from server_intents
where id = $1 and server <> $2 and server_created_at < $3
for update

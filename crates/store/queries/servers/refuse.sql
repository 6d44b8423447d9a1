-- An order was refused: its worker will never be, and its place is free. Only one that was never seen.
with intent as (
    update server_intents set ended_at = now() where id = $1 and server is null and ended_at is null returning id
)
update workers w set status = $2, status_since = now(), terminated_at = now(), reason = $3
from intent where w.intent_id = intent.id and w.status = any($4)

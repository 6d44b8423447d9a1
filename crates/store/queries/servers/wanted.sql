-- Reads which of these intents somebody still means to have.
select id from server_intents where id = any($1) and ended_at is null

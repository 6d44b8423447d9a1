-- Uploads that are about to be committed are too young to be collected.
with locked as (
    select id from uploads where account_id = $1 and id = any ($2) order by id for no key update
)
update uploads u set touched_at = now() from locked where u.id = locked.id

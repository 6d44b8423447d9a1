-- Says that these blobs were used, where that was last said before $3. One that somebody else is just touching needs no
-- second touch.
with used as (
    select sha256 from blobs
    where account_id = $1 and sha256 = any ($2) and last_used_at < now() - $3::interval
    order by sha256
    for no key update skip locked
)
update blobs b set last_used_at = now()
from used
where b.account_id = $1 and b.sha256 = used.sha256

-- Locks a join token. It may be redeemed when it is fresh, or again with the same nonce until the first heartbeat.
select t.worker_id, t.used_at is null and t.expires_at > now() as fresh,
    coalesce(
        t.nonce = $2
        and not exists (
            select from worker_heartbeats h where h.worker_id = t.worker_id and h.last_heartbeat_at is not null
        ),
        false
    ) as repeated
from join_tokens t
where t.token_sha256 = $1
for update of t

-- Reads whose secret this is: a person's key that is not revoked.
select k.id, k.name, k.role, k.created_at, k.last_used_at, k.revoked_at, a.id as account_id, a.name as account_name,
    k.last_used_at is null or k.last_used_at < now() - interval '1 minute' as touch
from api_keys k
join accounts a on a.id = k.account_id
where k.secret_sha256 = $1 and k.revoked_at is null

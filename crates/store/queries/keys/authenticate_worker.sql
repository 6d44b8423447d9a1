-- Reads whose credential this is: a worker's that is not on its way out. It acts for the default account ($2).
select w.id as worker_id, w.hostname, w.created_at, a.id as account_id, a.name as account_name
from workers w
cross join accounts a
where w.credential_sha256 = $1 and a.name = $2

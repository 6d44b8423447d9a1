-- Which of these hashes are not blobs of the account.
select wanted.sha256
from unnest($2::bytea[]) as wanted (sha256)
where not exists (select from blobs b where b.account_id = $1 and b.sha256 = wanted.sha256)

-- Which of these hashes are not blobs of the account. Not a join: it must never read all blobs of the account.
select wanted.sha256
from unnest($2::bytea[]) as wanted (sha256)
where (select true from blobs b where b.account_id = $1 and b.sha256 = wanted.sha256) is null

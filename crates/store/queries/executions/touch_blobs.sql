-- Remembers the use of blobs to within an hour: more often, all users of one script would wait for each other.
update blobs set last_used_at = now()
where account_id = $1 and sha256 = any($2) and last_used_at < now() - interval '1 hour'

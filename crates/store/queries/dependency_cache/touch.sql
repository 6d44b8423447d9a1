-- Says that an environment was used, where that was last said before $3.
update dependency_cache set last_used_at = now()
where account_id = $1 and key = $2 and last_used_at < now() - $3::interval

-- An execution that has completed answers the next submission that is the same.
insert into combined_cache (execution_id, account_id, place, platform, question, key) values ($1, $2, $3, $4, $5, $6)
on conflict (execution_id) do nothing

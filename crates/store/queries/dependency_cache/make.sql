-- Makes the row of an environment that nobody has asked for yet.
insert into dependency_cache (account_id, key) values ($1, $2)
on conflict (account_id, key) do nothing

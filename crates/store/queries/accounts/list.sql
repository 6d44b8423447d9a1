-- Reads all accounts by name.
select id, name, created_at from accounts order by name

-- Reads an account by its name.
select id, name, created_at from accounts where name = $1

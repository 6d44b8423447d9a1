-- Makes an account unless its name is taken.
insert into accounts (id, name) values ($1, $2) on conflict do nothing returning id, name, created_at

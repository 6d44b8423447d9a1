-- Makes the first account, once.
insert into accounts (id, name) values ($1, $2) on conflict do nothing

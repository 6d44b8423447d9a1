-- Makes the grid's row, once.
insert into grid (id) values ($1) on conflict do nothing

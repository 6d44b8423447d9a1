-- Reads the grid's id.
select id from grid

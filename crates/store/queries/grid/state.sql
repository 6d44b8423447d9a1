-- Reads which life of the grid this is, when it was last restored, and whether spending was stopped.
select epoch, restored_at, spending_stopped_at from grid

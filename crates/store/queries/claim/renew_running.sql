-- Begins the next generation of what runs, and carries into it all that still does; answers how much that is. Under the
-- claim lock: nothing begins to run meanwhile, and what ends meanwhile is left behind.
with next as (
    update running_generation set number = number + 1
),
carried as (
    update attempts a set generation = a.generation + 1
    where a.generation = (select number from running_generation) and a.state = 'running'
    returning 1
)
select count(*) from carried

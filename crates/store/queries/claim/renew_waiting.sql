-- Begins the next generation of waiting lanes, and carries into it all that wait; answers how many. Not when more than $1
-- wait: claims would stand still for it.
with few as (
    select from (
        select from lanes
        where generation = (select number from waiting_generation) and head_age is not null
        order by account_id
        limit $1 + 1
    ) waiting
    having count(*) <= $1
),
next as (
    update waiting_generation set number = number + 1 where exists (select from few)
),
carried as (
    update lanes l set generation = l.generation + 1
    where l.generation = (select number from waiting_generation) and l.head_age is not null and exists (select from few)
    returning 1
)
select count(*) from carried

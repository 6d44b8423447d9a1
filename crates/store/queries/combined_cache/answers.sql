-- Executions that completed with these very inputs, or else with the same question, newest first. What ran them must be
-- what ran the newest one of the same place: a machine that was changed since gives other answers.
select c.execution_id, c.key = $3 as exact
from combined_cache c
where c.account_id = $1 and c.question = $2
    and c.platform = (
        select n.platform from combined_cache n where n.account_id = c.account_id and n.place = c.place
        order by n.completed_at desc limit 1
    )
order by (c.key = $3) desc, c.completed_at desc
limit $4

-- Reads the ids of one page, newest first.
select id
from executions
where account_id = $1
    and ($2::text is null or id < $2)
    and ($3::text[] is null or status = any($3))
    and ($4::text is null or name = $4)
    and ($5::jsonb is null or metadata @> $5)
order by id desc
limit $6

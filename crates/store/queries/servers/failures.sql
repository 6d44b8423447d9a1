-- Reads how many of the newest servers that were created never joined, since one last did; of the last $1.
with newest as (
    select w.joined_at, w.status, w.status_since, row_number() over (order by i.id desc) as place
    from (
        select id from server_intents where name is not null and server is not null order by id desc limit $1
    ) i
    cross join lateral (
        -- The limit keeps it from reading all workers that ever were.
        select joined_at, status, status_since from workers where intent_id = i.id limit 1
    ) w
),
since as (
    select * from newest
    where place < coalesce((select min(place) from newest where joined_at is not null), $1 + 1)
        and status not in ('provisioning', 'active')
)
select count(*) as in_a_row, max(status_since) as newest_at from since

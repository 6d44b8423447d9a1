-- Whether a lane may be waiting that needs a worker with Docker.
select exists (
    select from lanes
    where generation = (select number from waiting_generation) and sandbox = 'docker' and head_age is not null
)

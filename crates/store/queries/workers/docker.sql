-- Reads whether one of the workers that joined, in the states $1, can run container images. Null when there is none.
select bool_or(docker) from workers where status = any($1) and status <> 'terminated' and joined_at is not null

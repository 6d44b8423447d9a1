-- Whether a lane may be waiting that needs a worker with Docker.
select exists (select from lanes where sandbox = 'docker' and head_age is not null)

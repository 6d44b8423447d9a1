-- Makes the row of a static worker that is about to join.
insert into workers (id, provider, status) values ($1, 'static', 'provisioning')

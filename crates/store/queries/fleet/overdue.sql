-- Reads attempts whose lease has ended, or that their worker did not name within $1 ms.
select execution_id, number, worker_id, lease_until, claimed_at, named_at is not null as named
from attempts
where generation = (select number from running_generation) and state = 'running' and (
    lease_until < now()
    or named_at is null and claimed_at < now() - make_interval(secs => $1::bigint / 1000.0)
)
order by lease_until

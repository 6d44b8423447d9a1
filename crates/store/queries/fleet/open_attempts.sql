-- Reads the attempts that a worker holds.
select execution_id, number
from attempts
where generation = (select number from running_generation) and worker_id = $1 and state = 'running'
order by execution_id

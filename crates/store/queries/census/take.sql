-- How many there are of what is not final, for monitoring.
select 'execution' as what, 'pending' as status, count(*) as number from executions where status = 'pending'
union all
select 'execution', 'queued', count(*) from queue
union all
select 'execution', 'running', count(*) from attempts
where generation = (select number from running_generation) and state = 'running'
union all
select 'worker', status, count(*) from workers where status <> 'terminated' group by status

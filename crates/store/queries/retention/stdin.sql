-- Stdin of executions that have ended. Not a join: it must never begin at the executions.
delete from stdin_streams s
where (select e.finished_at from executions e where e.id = s.execution_id) is not null

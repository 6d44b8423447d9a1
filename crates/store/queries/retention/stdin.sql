-- Stdin of executions that have ended.
delete from stdin_streams s
using executions e
where e.id = s.execution_id and e.finished_at is not null

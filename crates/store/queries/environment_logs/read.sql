-- What the newest attempt of an execution has told of its environment, and what is known without that.
select e.status, e.dependencies is not null as has_packages, a.preparing is not null as is_installing, l.origin, t.log
from executions e
left join attempts a on a.execution_id = e.id and a.number = e.attempt
left join environment_logs l on l.execution_id = e.id and l.attempt = e.attempt
left join environment_log_texts t on t.account_id = l.account_id and t.sha256 = l.log_sha256
where e.id = $1 and e.account_id = $2

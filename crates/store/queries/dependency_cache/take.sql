-- Gives an attempt the right to build, unless another one that still runs has it. What it had of a packed environment is
-- not there any more.
update dependency_cache c
set sha256 = null, size_bytes = null, builder_execution_id = $3, builder_attempt = $4, build_until = now() + $5::interval,
    last_used_at = now()
where c.account_id = $1 and c.key = $2
    and (c.build_until is null or c.build_until < now()
        or (c.builder_execution_id = $3 and c.builder_attempt = $4)
        or not exists (
            select from attempts a
            where a.execution_id = c.builder_execution_id and a.number = c.builder_attempt and a.state = 'running'
        ))

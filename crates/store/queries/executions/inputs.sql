-- Reads the inputs of executions.
select execution_id, path, entry, sha256, size_bytes, mode, modified_ns, target
from artifacts
where execution_id = any($1) and kind = 'input'
order by execution_id, path

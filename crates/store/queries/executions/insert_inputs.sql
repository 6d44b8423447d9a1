-- Writes the inputs of an execution.
insert into artifacts (execution_id, kind, path, entry, sha256, size_bytes, mode, modified_ns, target)
select $1, 'input', input.*
from unnest($2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::integer[], $7::bigint[], $8::text[]) as input

-- Writes what came back, as one set.
insert into artifacts (execution_id, kind, path, entry, sha256, size_bytes, mode, modified_ns)
select $1, 'output', o.path, case when o.sha256 is null then 'folder' else 'file' end, o.sha256, o.size_bytes, o.mode,
    o.modified_ns
from unnest($2::text[], $3::bytea[], $4::bigint[], $5::integer[], $6::bigint[])
    as o (path, sha256, size_bytes, mode, modified_ns)

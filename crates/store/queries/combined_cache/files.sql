-- What an execution was sent, and the files that it made.
select kind, path, entry, sha256, size_bytes, mode, modified_ns, target from artifacts where execution_id = $1

-- Reads the attempt that a call proves to be.
select state, manifest_sha256 from attempts
where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4

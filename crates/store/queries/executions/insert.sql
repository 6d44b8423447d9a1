-- Writes an execution as it was submitted.
insert into executions (
    id, account_id, lane_id, name, status, program_kind, program, args, cwd, project_root, runtime, interpreter,
    environment_names, environment_ciphertext, environment_key, stdin, cpu_millis, memory_bytes, disk_bytes, timeout_ms,
    grace_ms, retries, retry_on, network, output_roots, outputs, priority, metadata, argv0,
    followed_until, umask, dependencies, credentials_ciphertext, credentials_key,
    interpreter_state, reuse_place, reuse_question, reuse_key
) values (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
    $26, $27, $28, $29, now() + make_interval(secs => $30::bigint / 1000.0), $31, $32, $33, $34,
    $35, $36, $37, $38
)

-- Reads what was submitted.
select id, account_id, name, program_kind, program, argv0, args, cwd, project_root, runtime, interpreter,
    environment_ciphertext, environment_key, stdin, cpu_millis, memory_bytes, disk_bytes, timeout_ms, grace_ms, retries,
    retry_on, network, output_roots, outputs, priority, metadata, umask,
    dependencies, credentials_ciphertext, credentials_key, interpreter_state
from executions
where id = any($1)

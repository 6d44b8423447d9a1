-- Rows in every table as an old and busy grid has them: thousands of accounts, much that has ended, little that runs.
-- `SAMPLE` is an execution that has ended. Most of what is read by a status must find little.
insert into accounts (id, name) select 'acct_' || lpad(n::text, 26, '0'), 'account ' || n from generate_series(1, 2000) n;
insert into api_keys (id, account_id, name, role, secret_sha256)
select 'key_' || lpad(n::text, 26, '0'), 'acct_' || lpad((1 + n % 2000)::text, 26, '0'), 'k', 'member', sha256(n::text::bytea)
from generate_series(1, 5000) n;
insert into idempotency_keys (account_id, route, key, body_sha256, created_id, created_at)
select 'acct_' || lpad((1 + n % 2000)::text, 26, '0'), 'executions', n::text, '', '', now() - interval '1 minute' * (n % 1440)
from generate_series(1, 20000) n;
insert into server_intents (id, provider, reason) select 'intent_' || lpad(n::text, 26, '0'), 'local', '' from generate_series(1, 20000) n;
insert into workers (id, intent_id, provider, status, slots, cpu_millis, memory_bytes, disk_bytes, credential_sha256,
    joined_at, terminated_at)
select 'worker_' || lpad(n::text, 26, '0'), 'intent_' || lpad(n::text, 26, '0'), 'local',
    case when n > 500 then 'terminated' else 'active' end, 4, 4000, 8, 8, sha256(n::text::bytea),
    now() - interval '1 minute' * n, case when n > 500 then now() - interval '1 minute' * n end
from generate_series(1, 20000) n;
update server_intents set name = id, epoch = 1, machine_type = 'cpx22', location = 'fsn1', server_hour = 0.0312,
    server = id, server_created_at = created_at,
    server_gone_at = case when right(id, 5)::integer > 50 then now() end,
    ended_at = case when right(id, 5)::integer > 50 then now() end;
insert into ledger (intent_id, item, hour_start, micros)
select i.id, 'server', now() - interval '1 hour' * (n + right(i.id, 5)::integer), 31200
from server_intents i cross join generate_series(1, 5) n;
insert into worker_heartbeats (worker_id, last_heartbeat_at) select id, now() from workers;
insert into join_tokens (token_sha256, worker_id, expires_at) select credential_sha256, id, now() from workers;
insert into batches (id, account_id, parallel)
select 'batch_' || lpad(n::text, 26, '0'), 'acct_' || lpad((1 + n % 2000)::text, 26, '0'), 10 from generate_series(1, 20000) n;
insert into lanes (account_id, batch_id, priority, cpu_millis, memory_bytes, disk_bytes, sandbox, head_age)
select account_id, id, 0, 0, 0, 0, 'process', case when id < 'batch_' || lpad('1000', 26, '0') then now() end from batches;
-- What ended, what runs, what waits, what is pending.
insert into executions
select r.*
from executions e
cross join (
    select n, 'acct_' || lpad((1 + n % 2000)::text, 26, '0') as account,
        case when n <= 20000 then 'completed' when n <= 21000 then 'running' when n <= 28000 then 'queued' else 'pending' end
            as status
    from generate_series(1, 28200) n
) made
join lanes l on l.id = (select min(id) from lanes) + made.n % 999
cross join lateral jsonb_populate_record(e, jsonb_build_object(
    'id', 'exec_7' || lpad(made.n::text, 25, '0'), 'account_id', made.account, 'status', made.status,
    'lane_id', l.id, 'batch_id', l.batch_id, 'attempt', case when made.n <= 21000 then 1 else 0 end,
    'created_at', now() - interval '1 second' * (28200 - made.n),
    'finished_at', case when made.n <= 20000 then now() - interval '1 minute' * made.n end,
    'outcome', case when made.n <= 20000 then '{}'::jsonb end,
    'outcome_kind', case when made.n <= 20000 then 'exited' end)) r
where e.id = 'SAMPLE';
insert into queue (lane_id, age, execution_id) select lane_id, created_at, id from executions where status = 'queued';
insert into attempts (execution_id, number, worker_id, account_id, batch_id, cpu_millis, memory_bytes, disk_bytes,
    placed_by, token_sha256, state, ended_at, lease_until)
select e.id, 1, w.id, e.account_id, e.batch_id, 1000, 1, 1, 'pool', sha256(e.id::bytea),
    case when e.status = 'running' then 'running' else 'ended' end, e.finished_at, now()
from executions e
join workers w on w.id = 'worker_' || lpad((1 + right(e.id, 5)::integer % 500)::text, 26, '0')
where e.status in ('running', 'completed');
insert into artifacts (execution_id, kind, path, entry, sha256)
select id, kind, '/home/ada/x', 'file', sha256(id::bytea) from executions cross join (values ('input'), ('output')) k (kind);
insert into blobs (account_id, sha256, object_key, last_used_at, size_bytes)
select account_id, sha256(id::bytea), id, created_at, 1 from executions where status <> 'pending';
insert into dependency_cache (account_id, key, sha256, size_bytes, last_used_at)
select account_id, sha256(id::bytea), sha256(id::bytea), 1, created_at from executions where status <> 'pending';
insert into combined_cache (execution_id, account_id, place, platform, question, key, completed_at)
select id, account_id, sha256(account_id::bytea), sha256('p'), sha256(id::bytea), sha256(id::bytea), finished_at
from executions where status = 'completed';
insert into uploads (id, account_id, sha256, size_bytes, part_bytes, object_key, touched_at, committed_at)
select id, account_id, sha256(id::bytea), 1, 1, id, created_at, case when status <> 'pending' then created_at end from executions;
insert into upload_parts (upload_id, number) select id, 1 from uploads;
insert into discarded_objects (object_key, delete_after)
select 'gone ' || n, now() + interval '1 second' * (n - 1000) from generate_series(1, 10000) n;
insert into environment_log_texts (account_id, sha256, log, told_at)
select 'acct_' || lpad((1 + n % 2000)::text, 26, '0'), sha256((n / 2000)::text::bytea), 'x', now() - n * interval '1 minute'
from generate_series(0, 19999) n;
insert into environment_logs (execution_id, attempt, origin, account_id, log_sha256)
select a.execution_id, a.number, 'kept', e.account_id, sha256('1') from attempts a join executions e on e.id = a.execution_id;
insert into attempt_logs (execution_id, attempt) select execution_id, number from attempts;
insert into log_chunks (execution_id, attempt, stream, start_byte, end_byte, seq, bytes, at)
select execution_id, number, 'stdout', n, n + 1, n, 'x', now() from attempts cross join generate_series(0, 1) n;
insert into log_ranges (execution_id, attempt, first_seq, end_seq, stdout_end, stderr_end, at, size_bytes, object_key)
select execution_id, number, 0, 1, 1, 0, now(), 1, 'log ' || execution_id from attempts;
insert into stdin_streams (execution_id) select id from executions where status in ('running', 'pending');
insert into stdin_chunks (execution_id, start_byte, end_byte, bytes) select execution_id, 0, 1, 'x' from stdin_streams;
insert into stdin_ranges (execution_id, start_byte, end_byte, object_key)
select execution_id, n, n + 1, 'stdin ' || execution_id || n from stdin_streams cross join generate_series(0, 15) n;
insert into provider_clocks (provider, ahead_ms) values ('local', 0);
analyze;

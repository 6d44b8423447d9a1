-- Executions, and the queue beside them.
--
-- The queue is a narrow table of its own: with one old snapshot open, claims on a wide table with dead index entries
-- doubled their time in 20 s. `executions.status` stays the truth for people.

create table batches (
    id text collate "C" primary key,
    account_id text collate "C" not null references accounts,
    name text,
    -- Executions of it that run at once.
    parallel integer not null check (parallel > 0),
    created_at timestamptz not null default now()
);
create index batches_account on batches (account_id, id);

-- What the claim compares instead of rows: fit, limits and fairness belong to the lane.
create table lanes (
    id bigint generated always as identity primary key,
    account_id text collate "C" not null references accounts,
    batch_id text collate "C" references batches on delete cascade,
    priority smallint not null,
    -- What one execution of it asks for; 0 is the worker's share.
    cpu_millis integer not null,
    memory_bytes bigint not null,
    disk_bytes bigint not null,
    sandbox text not null,
    -- No execution in the lane is older than this; null says that the lane is empty. A hint that may be too old, never
    -- too new: who queues lowers it, and only who has found the lane empty under lock makes it null.
    head_age timestamptz
) with (fillfactor = 70);
create unique index lanes_class on lanes
    (account_id, coalesce(batch_id, ''), priority, cpu_millis, memory_bytes, disk_bytes, sandbox);
create index lanes_waiting on lanes (account_id, priority desc, head_age) where head_age is not null;

create table executions (
    id text collate "C" primary key,
    account_id text collate "C" not null references accounts,
    batch_id text collate "C" references batches,
    lane_id bigint not null,
    name text,
    status text not null check (status in
        ('pending', 'queued', 'running', 'completed', 'failed', 'timed_out', 'cancelled')),
    -- The submission.
    program_kind text not null check (program_kind in ('script', 'module')),
    program text not null,
    -- How the user spelled the script; null: as `program`.
    argv0 text,
    args text[] not null,
    cwd text not null,
    project_root text not null,
    runtime text not null,
    interpreter text,
    environment_names text[] not null,
    -- All variables as one sealed JSON object; null when there are none.
    environment_ciphertext bytea,
    environment_key text,
    stdin boolean not null,
    cpu_millis integer,
    memory_bytes bigint,
    disk_bytes bigint,
    timeout_ms bigint not null check (timeout_ms > 0),
    grace_ms bigint not null,
    retries integer not null,
    retry_on smallint[] not null,
    network boolean not null,
    output_roots text[] not null,
    outputs text[] not null,
    priority smallint not null,
    metadata jsonb not null,
    -- Its life.
    attempt integer not null default 0,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    cancel_requested_by text check (cancel_requested_by in ('user', 'operator')),
    followed_until timestamptz,
    -- How it ended.
    outcome_kind text,
    outcome jsonb,
    output_files bigint not null default 0,
    output_bytes bigint not null default 0,
    not_brought_back text[] not null default '{}',
    check ((outcome_kind is null) = (outcome is null)),
    check ((status in ('completed', 'failed', 'timed_out', 'cancelled')) = (finished_at is not null)),
    check ((finished_at is null) = (outcome is null)),
    check ((environment_ciphertext is null) = (environment_key is null))
) with (fillfactor = 80);
create index executions_account on executions (account_id, id);
create index executions_batch on executions (batch_id, id) where batch_id is not null;
create index executions_pending on executions (account_id, id) where status = 'pending';
create index executions_finished on executions (finished_at) where finished_at is not null;

create table queue (
    lane_id bigint not null references lanes,
    -- When the execution was accepted: one that is queued again keeps its place.
    age timestamptz not null,
    execution_id text collate "C" not null,
    primary key (lane_id, age, execution_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- The named files of executions. The bytes are blobs.
create table artifacts (
    execution_id text collate "C" not null references executions on delete cascade,
    kind text collate "C" not null check (kind in ('input', 'output', 'log')),
    path text collate "C" not null,
    entry text not null check (entry in ('file', 'folder', 'symlink')),
    -- Null for a folder or a link.
    sha256 bytea,
    size_bytes bigint not null default 0,
    mode integer not null default 0,
    modified_ns bigint not null default 0,
    target text,
    primary key (execution_id, kind, path),
    check ((entry = 'file') = (sha256 is not null)),
    check ((entry = 'symlink') = (target is not null))
);
create index artifacts_blob on artifacts (sha256) where sha256 is not null;

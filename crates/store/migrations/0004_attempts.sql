-- Tries at executions. The number is the fencing token; a call proves itself with number and token.

create table attempts (
    execution_id text collate "C" not null references executions on delete cascade,
    number integer not null check (number > 0),
    worker_id text collate "C" not null references workers,
    -- Copied from the execution: what runs is counted from the index below and from nothing else.
    account_id text collate "C" not null,
    batch_id text collate "C",
    cpu_millis integer not null,
    memory_bytes bigint not null,
    disk_bytes bigint not null,
    placed_by text not null check (placed_by in ('pool', 'ray')),
    token_sha256 bytea not null,
    state text not null default 'running' check (state in ('running', 'ended', 'lost', 'handed_back')),
    claimed_at timestamptz not null default now(),
    -- When its worker first named it in a heartbeat or a call.
    named_at timestamptz,
    started_at timestamptz,
    ended_at timestamptz,
    -- In no index: it changes with every renewal.
    lease_until timestamptz not null,
    directive_version bigint not null default 1,
    outcome_kind text,
    outcome jsonb,
    -- Hash of the finish that ended it: a repeated one is a success.
    manifest_sha256 bytea,
    stdout_bytes bigint,
    stderr_bytes bigint,
    peak_memory_bytes bigint,
    cpu_ms bigint,
    primary key (execution_id, number),
    check ((outcome_kind is null) = (outcome is null)),
    check ((state = 'running') = (ended_at is null))
) with (fillfactor = 60);
-- At most one current attempt per execution, whatever the code does.
create unique index attempts_current on attempts (execution_id) where state = 'running';
create index attempts_running on attempts (account_id, batch_id) where state = 'running';
create index attempts_of_worker on attempts (worker_id) where state = 'running';

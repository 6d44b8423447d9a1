-- Log bytes of attempts: the newest in rows, older ranges in objects.

-- Where an attempt's streams stand. Appending locks it, following reads nothing else.
create table attempt_logs (
    execution_id text collate "C" not null,
    attempt integer not null,
    -- Offset of the next byte of each stream.
    stdout_bytes bigint not null default 0,
    stderr_bytes bigint not null default 0,
    -- Number of the next chunk: the order in which both streams were written.
    next_seq bigint not null default 0,
    -- Bytes kept, in rows or objects: a gap takes none.
    kept_bytes bigint not null default 0,
    -- What is still in rows.
    tail_bytes bigint not null default 0,
    tail_chunks bigint not null default 0,
    primary key (execution_id, attempt),
    foreign key (execution_id, attempt) references attempts on delete cascade
) with (fillfactor = 50);

create table log_chunks (
    execution_id text collate "C" not null,
    attempt integer not null,
    stream text collate "C" not null check (stream in ('stdout', 'stderr')),
    start_byte bigint not null,
    end_byte bigint not null,
    seq bigint not null,
    -- Empty for a gap.
    bytes bytea not null,
    at timestamptz not null,
    -- One index serves readers of both streams and of either.
    primary key (execution_id, attempt, stream, end_byte),
    foreign key (execution_id, attempt) references attempt_logs on delete cascade,
    check (octet_length(bytes) in (0, end_byte - start_byte)),
    check (start_byte < end_byte)
);
-- A tail is small and short-lived: compressing it costs more than it saves.
alter table log_chunks alter column bytes set storage external;

create table log_ranges (
    execution_id text collate "C" not null,
    attempt integer not null,
    -- Chunks from `first_seq` up to and without `end_seq`.
    first_seq bigint not null,
    end_seq bigint not null,
    -- Where each stream stands after its last chunk in here; 0 when it has none.
    stdout_end bigint not null,
    stderr_end bigint not null,
    -- When its last chunk was read by the runner.
    at timestamptz not null,
    size_bytes bigint not null,
    object_key text collate "C" not null unique,
    primary key (execution_id, attempt, first_seq),
    foreign key (execution_id, attempt) references attempt_logs on delete cascade
);

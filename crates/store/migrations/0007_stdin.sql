-- Stdin of executions: what the user's side has sent and the newest attempt has not read yet in rows; what was read
-- in objects, because a later attempt reads it again. All of it goes when the execution has ended.

create table stdin_streams (
    execution_id text collate "C" primary key references executions on delete cascade,
    received_bytes bigint not null default 0,
    eof boolean not null default false,
    -- Bytes before this were read by attempt `reader`.
    read_bytes bigint not null default 0,
    reader integer not null default 0,
    -- What is still in rows.
    tail_bytes bigint not null default 0
) with (fillfactor = 50);

create table stdin_chunks (
    execution_id text collate "C" not null references stdin_streams on delete cascade,
    start_byte bigint not null,
    end_byte bigint not null,
    bytes bytea not null,
    primary key (execution_id, end_byte),
    check (octet_length(bytes) = end_byte - start_byte and start_byte < end_byte)
);
alter table stdin_chunks alter column bytes set storage external;

create table stdin_ranges (
    execution_id text collate "C" not null references stdin_streams on delete cascade,
    start_byte bigint not null,
    end_byte bigint not null,
    object_key text collate "C" not null unique,
    primary key (execution_id, end_byte)
);

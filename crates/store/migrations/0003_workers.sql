-- Machines that run attempts, and what is known of their being alive.

-- A server that we mean to create, written before it is asked for.
create table server_intents (
    id text collate "C" primary key,
    provider text not null,
    reason text not null,
    created_at timestamptz not null default now(),
    -- The provider's own name for what was created.
    server text,
    ended_at timestamptz
);

create table workers (
    id text collate "C" primary key,
    -- Null for a static worker.
    intent_id text collate "C" unique references server_intents,
    provider text not null,
    status text not null check (status in
        ('provisioning', 'active', 'draining', 'dead', 'failed', 'terminating', 'terminated')),
    status_since timestamptz not null default now(),
    reason text,
    -- What the runner said when it joined.
    hostname text not null default '',
    version text not null default '',
    slots integer not null default 0,
    cpu_millis integer not null default 0,
    memory_bytes bigint not null default 0,
    disk_bytes bigint not null default 0,
    sandbox text,
    sandbox_network text,
    limits_grade text check (limits_grade in ('watched', 'hard')),
    disk_grade text check (disk_grade in ('watched', 'hard')),
    -- Null before it joined, and once it is to be removed: the credential dies with the state.
    credential_sha256 bytea unique,
    created_at timestamptz not null default now(),
    joined_at timestamptz,
    terminated_at timestamptz
);
create index workers_living on workers (id) where status <> 'terminated';

-- One row a worker, written every few seconds: nothing that changes here may stand in an index.
create table worker_heartbeats (
    worker_id text collate "C" primary key references workers on delete cascade,
    last_heartbeat_at timestamptz,
    -- When it was last known to hold an attempt.
    busy_at timestamptz,
    holding integer not null default 0
) with (fillfactor = 50);

-- When each API replica last accepted heartbeats.
create table api_beats (
    replica text primary key,
    last_beat_at timestamptz not null
) with (fillfactor = 50);

-- The end of the newest gap in which no replica did: no lease ends earlier than a full period after it.
create table api_outage (
    only_row boolean primary key default true check (only_row),
    last_beat_at timestamptz,
    last_gap_end timestamptz
) with (fillfactor = 50);
insert into api_outage default values;

create table join_tokens (
    token_sha256 bytea primary key,
    -- The `provisioning` worker it is for; null until a static one joins with it.
    worker_id text collate "C" references workers on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    -- Who redeemed it: the same nonce may again until its worker's first heartbeat.
    nonce text,
    used_at timestamptz
);

-- Which orchestrator leads. Every write of it checks the term.
create table leadership (
    only_row boolean primary key default true check (only_row),
    holder text,
    term bigint not null default 0,
    deadline timestamptz not null default '-infinity'
);
insert into leadership default values;

-- Who owns things, and who may ask for them.
--
-- Ids are text with collation "C" everywhere: they sort by the moment of their making, and a prefix is a range.

-- The grid itself: one row, made by `rgrid migrate`.
create table grid (
    only_row boolean primary key default true check (only_row),
    id text collate "C" not null,
    -- Counts restores: what an older epoch created is reported, not deleted.
    epoch bigint not null default 1,
    created_at timestamptz not null default now()
);

create table accounts (
    id text collate "C" primary key,
    name text not null unique check (name <> ''),
    created_at timestamptz not null default now()
);

-- Keys for people. A worker's credential stands in its own row.
create table api_keys (
    id text collate "C" primary key,
    account_id text collate "C" not null references accounts,
    name text not null,
    role text not null check (role in ('admin', 'member')),
    -- The secret has 256 random bits, so a plain hash is enough.
    secret_sha256 bytea not null unique,
    created_at timestamptz not null default now(),
    last_used_at timestamptz,
    revoked_at timestamptz
);
create index api_keys_account on api_keys (account_id, id);

-- Written in the transaction that creates, so that a twin in flight waits for it.
create table idempotency_keys (
    account_id text collate "C" not null references accounts,
    route text not null,
    key text not null,
    body_sha256 bytea not null,
    -- What was created.
    created_id text collate "C" not null,
    created_at timestamptz not null default now(),
    primary key (account_id, route, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

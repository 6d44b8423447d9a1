-- The umask of whoever submits; what must be installed before a script starts; and environments that were built.

alter table executions
    add column umask integer not null default 18,
    -- Source, lock and local packages as one object; null when nothing is to be installed.
    add column dependencies jsonb,
    -- Credentials of package indexes as one sealed object; null when there are none.
    add column credentials_ciphertext bytea,
    add column credentials_key text,
    add constraint executions_credentials check ((credentials_ciphertext is null) = (credentials_key is null));

-- Environments by their key, of one account each: being built by an attempt, or packed in a blob.
create table dependency_cache (
    account_id text collate "C" not null references accounts,
    -- Hash of all that decides what is in it.
    key bytea not null check (octet_length(key) = 32),
    -- The packed environment; null while it is built for the first time.
    sha256 bytea check (octet_length(sha256) = 32),
    size_bytes bigint,
    -- The attempt that builds it, and until when others wait for that.
    builder_execution_id text collate "C",
    builder_attempt integer,
    build_until timestamptz,
    created_at timestamptz not null default now(),
    -- Within some minutes.
    last_used_at timestamptz not null default now(),
    primary key (account_id, key),
    check ((sha256 is null) = (size_bytes is null)),
    check ((builder_execution_id is null) = (builder_attempt is null)),
    check ((builder_execution_id is null) = (build_until is null))
);
create index dependency_cache_blob on dependency_cache (account_id, sha256) where sha256 is not null;
create index dependency_cache_unused on dependency_cache (last_used_at);

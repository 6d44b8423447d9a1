-- Blobs: which object holds the bytes of a hash, and uploads on their way to becoming one.
--
-- Every object's key stands in a row before the object is made (uploads, discarded_objects) and until it is deleted
-- (blobs, log_ranges, stdin_ranges, discarded_objects): no crash leaves an object that nobody knows of.

create table blobs (
    account_id text collate "C" not null references accounts,
    sha256 bytea not null check (octet_length(sha256) = 32),
    object_key text collate "C" not null unique,
    size_bytes bigint not null check (size_bytes >= 0),
    created_at timestamptz not null default now(),
    -- Within some minutes: a touch of each use would make the users of one blob wait for each other.
    last_used_at timestamptz not null default now(),
    primary key (account_id, sha256)
) with (fillfactor = 80);
create index blobs_unused on blobs (last_used_at);

create table uploads (
    id text collate "C" primary key,
    account_id text collate "C" not null references accounts,
    sha256 bytea not null check (octet_length(sha256) = 32),
    size_bytes bigint not null check (size_bytes >= 0),
    part_bytes bigint not null check (part_bytes > 0),
    object_key text collate "C" not null unique,
    created_at timestamptz not null default now(),
    -- When the last part of it arrived, or it was last asked for.
    touched_at timestamptz not null default now(),
    -- Kept for a day after it, so that a repeated commit or part is a success.
    committed_at timestamptz
);
-- Who asks for the same again finds the open upload, and sends what is still missing.
create unique index uploads_open on uploads (account_id, sha256, size_bytes) where committed_at is null;
create index uploads_age on uploads (touched_at);

create table upload_parts (
    upload_id text collate "C" not null references uploads on delete cascade,
    number integer not null check (number > 0),
    primary key (upload_id, number)
);

-- Objects that no row needs any more, and objects that are just being made for a row.
create table discarded_objects (
    object_key text collate "C" primary key,
    delete_after timestamptz not null
);
create index discarded_objects_due on discarded_objects (delete_after);

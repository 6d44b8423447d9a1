-- Where the environments of attempts came from, and what was said while they were built. Rows go with their attempts.

-- What was said, once for all attempts of an account that have an environment of that build.
create table environment_log_texts (
    account_id text collate "C" not null references accounts,
    sha256 bytea not null check (octet_length(sha256) = 32),
    -- The end of it.
    log bytea not null check (octet_length(log) <= 65536),
    told_at timestamptz not null default now(),
    primary key (account_id, sha256)
);
create index environment_log_texts_told on environment_log_texts (told_at);

create table environment_logs (
    execution_id text collate "C" not null,
    attempt integer not null,
    origin text collate "C" not null check (origin in ('built', 'kept', 'fetched')),
    account_id text collate "C" not null,
    -- Null where it was not kept with the environment.
    log_sha256 bytea,
    told_at timestamptz not null default now(),
    primary key (execution_id, attempt),
    foreign key (execution_id, attempt) references attempts on delete cascade,
    foreign key (account_id, log_sha256) references environment_log_texts
);
create index environment_logs_text on environment_logs (account_id, log_sha256) where log_sha256 is not null;

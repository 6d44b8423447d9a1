-- Where the environments of attempts came from, and what was said while they were built. Rows go with their attempts.

create table environment_logs (
    execution_id text collate "C" not null,
    attempt integer not null,
    origin text collate "C" not null check (origin in ('built', 'kept', 'fetched')),
    -- The end of it; null where it was not kept with the environment.
    log bytea check (octet_length(log) <= 65536),
    told_at timestamptz not null default now(),
    primary key (execution_id, attempt),
    foreign key (execution_id, attempt) references attempts on delete cascade
);

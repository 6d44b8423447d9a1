-- Which executions answer a submission that is the same: nothing of it stands here in clear.

alter table executions
    -- Hash of what the user's own interpreter is, with its packages.
    add column interpreter_state bytea check (octet_length(interpreter_state) = 32),
    -- Keyed hashes; null when it never answers another submission.
    add column reuse_place bytea check (octet_length(reuse_place) = 32),
    add column reuse_question bytea check (octet_length(reuse_question) = 32),
    add column reuse_key bytea check (octet_length(reuse_key) = 32),
    add constraint executions_reuse
        check ((reuse_key is null) = (reuse_question is null) and (reuse_key is null) = (reuse_place is null));

-- Hash of all that was streamed, told with its end.
alter table stdin_streams add column sha256 bytea check (octet_length(sha256) = 32);

-- Executions that have completed, by what was asked. Rows go with their executions.
create table combined_cache (
    execution_id text collate "C" primary key references executions on delete cascade,
    account_id text collate "C" not null references accounts,
    -- Which Python was asked for; and what it was when this ran.
    place bytea not null check (octet_length(place) = 32),
    platform bytea not null check (octet_length(platform) = 32),
    -- All that decides but the inputs; and with them.
    question bytea not null check (octet_length(question) = 32),
    key bytea not null check (octet_length(key) = 32),
    completed_at timestamptz not null default now()
);
create index combined_cache_question on combined_cache (account_id, question, completed_at);
create index combined_cache_place on combined_cache (account_id, place, completed_at);

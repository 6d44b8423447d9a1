-- Servers that a provider bills: what was ordered at what price, every started hour of it, and how the provider answered.

-- Null throughout where nothing is bought. Times of servers are the provider's: hours are counted on its clock.
alter table server_intents
    -- The server's name, made from the id before anything is asked for: it can be created once only.
    add column name text collate "C" unique,
    -- Which life of the grid ordered it.
    add column epoch bigint,
    add column machine_type text,
    add column location text,
    -- Net euros, exact, as they were when it was ordered.
    add column server_hour numeric check (server_hour >= 0),
    add column server_month numeric check (server_month >= 0),
    add column ipv4_hour numeric check (ipv4_hour >= 0),
    add column ipv4_month numeric check (ipv4_month >= 0),
    add column server_created_at timestamptz,
    add column delete_taken_at timestamptz,
    add column server_gone_at timestamptz;
create index server_intents_open on server_intents (id)
    where name is not null and (ended_at is null or server is not null and server_gone_at is null);
create index server_intents_created on server_intents (id) where name is not null and server is not null;

alter table grid
    -- The last restore from a backup: for a while servers without an intent are only reported.
    add column restored_at timestamptz,
    -- `rgrid cloud stop`: since then nothing is bought, and what is idle goes.
    add column spending_stopped_at timestamptz;

-- A line for each started hour of a server, and of its address.
create table ledger (
    intent_id text collate "C" not null references server_intents,
    item text not null check (item in ('server', 'ipv4')),
    hour_start timestamptz not null,
    micros bigint not null check (micros >= 0),
    primary key (intent_id, item, hour_start)
);
create index ledger_hour on ledger (hour_start);

-- Orders that were refused for want of capacity: gone after one that was taken.
create table order_refusals (
    provider text not null,
    machine_type text not null,
    location text not null,
    in_a_row integer not null,
    refused_at timestamptz not null,
    primary key (provider, machine_type, location)
);

-- Why a provider takes no order at all for a while.
create table order_pauses (
    provider text primary key,
    cause text not null,
    in_a_row integer not null,
    paused_at timestamptz not null
);

-- Types whose worker joined with less than was promised.
create table type_shortfalls (
    provider text not null,
    machine_type text not null,
    promised_cpu_millis integer not null,
    promised_memory_bytes bigint not null,
    promised_disk_bytes bigint not null,
    cpu_millis integer not null,
    memory_bytes bigint not null,
    disk_bytes bigint not null,
    joined_at timestamptz not null,
    primary key (provider, machine_type)
);

-- Why work waits for a worker, in the orchestrator's words.
create table outlook (
    only_row boolean primary key default true check (only_row),
    sentence text,
    said_at timestamptz
);
insert into outlook default values;

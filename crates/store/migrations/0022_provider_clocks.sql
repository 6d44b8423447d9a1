-- By how much a provider's clock is ahead of this one. A claim asks until when the servers of its workers are paid: their hours
-- are counted by the provider's.

create table provider_clocks (
    provider text primary key,
    ahead_ms bigint not null,
    seen_at timestamptz not null default now()
);

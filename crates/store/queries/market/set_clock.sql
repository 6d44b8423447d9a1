-- A provider's clock is so far ahead of ours.
insert into provider_clocks (provider, ahead_ms) values ($1, $2)
on conflict (provider) do update set ahead_ms = excluded.ahead_ms, seen_at = excluded.seen_at

-- A replica ($1) accepts heartbeats. The first beat after a gap above $2 ms ends an outage; so does the very first.
with beat as (
    insert into api_beats (replica, last_beat_at) values ($1, now())
    on conflict (replica) do update set last_beat_at = excluded.last_beat_at
),
forgotten as (
    delete from api_beats where last_beat_at < now() - interval '1 day' and replica <> $1
)
update api_outage set
    last_gap_end = case
        when last_beat_at >= now() - make_interval(secs => $2::bigint / 1000.0) then last_gap_end
        else now()
    end,
    last_beat_at = greatest(last_beat_at, now())

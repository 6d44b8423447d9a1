-- Is the current attempt still overdue? Lost: its lease has ended, or its worker is not alive. Unnamed: its worker never
-- named it within $3 ms. In both cases only time counts in which heartbeats could be accepted: not while no replica of the
-- API beats ($5 ms), nor in the full period ($4 ms) after such a gap.
select
    (
        a.lease_until < clock_timestamp() and quiet.over
        or w.status in ('dead', 'failed', 'terminating', 'terminated')
    ) as lost,
    (
        a.named_at is null and a.claimed_at < clock_timestamp() - make_interval(secs => $3::bigint / 1000.0)
        and quiet.over
    ) as unnamed
from attempts a
join workers w on w.id = a.worker_id
cross join lateral (
    select coalesce(
        o.last_beat_at >= clock_timestamp() - make_interval(secs => $5::bigint / 1000.0)
        and o.last_gap_end <= clock_timestamp() - make_interval(secs => $4::bigint / 1000.0),
        false
    ) as over
    from api_outage o
) quiet
where a.execution_id = $1 and a.number = $2 and a.state = 'running'

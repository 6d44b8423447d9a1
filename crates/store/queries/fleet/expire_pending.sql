-- Ends pending executions of which nothing has arrived for $1 ms.
update executions e set status = 'failed', outcome_kind = $2, outcome = $3, finished_at = now()
where e.status = 'pending' and e.created_at < now() - make_interval(secs => $1::bigint / 1000.0)
    and not exists (
        select from artifacts a
        join uploads u on u.account_id = e.account_id and u.sha256 = a.sha256
        where a.execution_id = e.id and a.kind = 'input'
            and u.touched_at > now() - make_interval(secs => $1::bigint / 1000.0)
    )

-- Takes leadership when it is free, or renews it for $2 ms. A holder that let it run out has a new term.
update leadership set
    term = case when holder = $1 and deadline > clock_timestamp() then term else term + 1 end,
    holder = $1,
    deadline = clock_timestamp() + make_interval(secs => $2::bigint / 1000.0)
where holder is null or holder = $1 or deadline <= clock_timestamp()
returning term, deadline

-- PostgreSQL's clock.
select clock_timestamp()

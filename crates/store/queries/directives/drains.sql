-- Reads which of the workers take new work; all others shall leave.
select id from workers where id = any($1) and status in ('provisioning', 'active', 'dead')

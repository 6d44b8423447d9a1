-- Reads which workers shall leave.
select id from workers where status in ('draining', 'terminating') and status <> 'terminated'

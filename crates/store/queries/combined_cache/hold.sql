-- Keeps an execution from being deleted while its outputs are taken; a change of its row, so that a deletion that has
-- looked before looks again. None when it is gone.
update executions set followed_until = greatest(followed_until, now() + $3::interval)
where id = $1 and account_id = $2 and status = any ($4)
returning id

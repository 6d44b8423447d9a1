-- Takes the current attempt away: lost, or handed back.
update attempts set state = $3, ended_at = now() where execution_id = $1 and number = $2 and state = 'running'

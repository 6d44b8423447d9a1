-- Counts the attempts of an execution that ended by themselves.
select count(*) from attempts where execution_id = $1 and state = 'ended'

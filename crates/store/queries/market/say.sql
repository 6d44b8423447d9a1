-- Says why work waits.
update outlook set sentence = $1, said_at = now()

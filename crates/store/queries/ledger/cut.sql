-- Takes out the lines of hours that never began.
delete from ledger where intent_id = $1 and hour_start >= $2

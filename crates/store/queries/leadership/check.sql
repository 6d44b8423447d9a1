-- Is this term still on? The row is held, so that it does not pass on before this transaction has ended.
select true from leadership where term = $1 and deadline > clock_timestamp() for share

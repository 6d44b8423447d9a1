-- Gives leadership up.
update leadership set deadline = '-infinity' where holder = $1

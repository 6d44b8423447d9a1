-- An attempt has read all before byte $3: there is room for what follows.
update stdin_streams set read_bytes = $3, reader = $2
where execution_id = $1 and (read_bytes, reader) is distinct from ($3, $2)

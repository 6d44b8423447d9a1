-- The hash of all that was streamed to an execution, when its end has come.
select sha256 from stdin_streams where execution_id = $1 and eof

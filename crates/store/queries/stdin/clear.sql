-- An execution has ended: nobody reads its stdin again.
delete from stdin_streams where execution_id = $1

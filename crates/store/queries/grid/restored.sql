-- The database was restored from a backup: a new life begins.
update grid set epoch = epoch + 1, restored_at = now() returning epoch

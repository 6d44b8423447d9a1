-- An attempt has built an environment and packed it in a blob.
update dependency_cache
set sha256 = $3, size_bytes = $4, builder_execution_id = null, builder_attempt = null, build_until = null,
    last_used_at = now()
where account_id = $1 and key = $2

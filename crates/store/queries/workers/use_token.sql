-- Remembers who redeemed a token.
update join_tokens set used_at = coalesce(used_at, now()), nonce = $2, worker_id = $3 where token_sha256 = $1

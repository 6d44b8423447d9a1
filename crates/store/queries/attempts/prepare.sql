-- Says what a current attempt does before its script starts, or in which image it does it.
update attempts set preparing = $5, image = coalesce($6, image)
where execution_id = $1 and number = $2 and token_sha256 = $3 and worker_id = $4 and state = 'running'

DELETE FROM concurrency_limits
WHERE namespace = $1
    AND name = $2

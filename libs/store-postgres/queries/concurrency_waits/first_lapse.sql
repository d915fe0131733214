SELECT reserved_until
FROM concurrency_waits
WHERE namespace = $1
    AND limit_name = $2
    AND handed_at > 0
    AND reserved_until <> 0
    AND reserved_until > $3
ORDER BY reserved_until
LIMIT 1

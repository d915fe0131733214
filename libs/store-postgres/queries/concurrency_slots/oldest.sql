SELECT owner
FROM concurrency_slots
WHERE namespace = $1
    AND limit_name = $2
    AND expires_at IS NULL
    AND asked = 0
ORDER BY acquired_at, owner
LIMIT $3

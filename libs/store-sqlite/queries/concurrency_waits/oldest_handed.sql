SELECT handed_at
FROM concurrency_waits
WHERE namespace = ?1
    AND limit_name = ?2
    AND handed_at >= ?3
ORDER BY handed_at
LIMIT 1

SELECT namespace, limit_name, owner, acquired_at, expires_at
FROM concurrency_slots
WHERE namespace = ?1
    AND limit_name = ?2
    AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY acquired_at, owner
LIMIT ?4

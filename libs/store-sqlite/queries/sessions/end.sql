UPDATE sessions
SET expires_at = 0
WHERE id = ?1
    AND namespace = ?2

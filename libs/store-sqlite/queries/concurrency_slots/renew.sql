UPDATE concurrency_slots
SET expires_at = ?4
WHERE owner = ?2
    AND namespace = ?1
    AND expires_at > ?3

WHERE root_id = ?3
    AND position > ?1
ORDER BY position
LIMIT ?2

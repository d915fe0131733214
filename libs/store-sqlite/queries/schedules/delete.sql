DELETE FROM schedules
WHERE namespace = ?1
    AND deployment = ?2
    AND name = ?3

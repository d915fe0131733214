DELETE FROM automations
WHERE namespace = ?1
    AND name = ?2

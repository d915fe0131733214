DELETE FROM automation_firings
WHERE namespace = ?1
    AND automation = ?2

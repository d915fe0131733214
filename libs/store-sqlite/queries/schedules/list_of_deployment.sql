FROM schedules
WHERE schedules.namespace = ?1
    AND schedules.deployment = ?2
    AND schedules.name > ?3
ORDER BY schedules.name
LIMIT ?4

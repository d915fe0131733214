SELECT count(*)
FROM schedules
WHERE namespace = ?1
    AND deployment = ?2

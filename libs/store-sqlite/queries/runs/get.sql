FROM runs
WHERE runs.id IN (SELECT unhex(value) FROM json_each(?1))
    AND (?2 IS NULL OR runs.namespace = ?2)
ORDER BY runs.id

SELECT id, job
FROM runs
WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    AND job IS NOT NULL

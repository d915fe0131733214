SELECT id, job
FROM runs
WHERE id = ANY($1)
    AND id BETWEEN $2 AND $3
    AND job IS NOT NULL

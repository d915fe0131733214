FROM runs
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
    AND ($4::text IS NULL OR runs.namespace = $4)

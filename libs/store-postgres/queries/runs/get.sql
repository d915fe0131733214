FROM runs
WHERE runs.id = ANY($1)
    AND ($2::text IS NULL OR runs.namespace = $2)

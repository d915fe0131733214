FROM concurrency_limits AS limits
WHERE limits.namespace = $2
    AND ($3::text IS NULL OR limits.name > $3)
ORDER BY limits.name
LIMIT $4

FROM (
    SELECT namespace, name
    FROM concurrency_limits
    WHERE namespace = $2
        AND ($3::text IS NULL OR name > $3)
    ORDER BY name
    LIMIT $4
) AS asked
JOIN concurrency_limits AS limits
    ON limits.namespace = asked.namespace
    AND limits.name = asked.name
ORDER BY asked.name

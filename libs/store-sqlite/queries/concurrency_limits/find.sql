FROM (
    SELECT value ->> 0 AS namespace, value ->> 1 AS name, value ->> 2 AS template
    FROM json_each(?2)
) AS asked
JOIN concurrency_limits AS limits
    ON limits.namespace = asked.namespace
    AND limits.name = CASE
        WHEN EXISTS (
            SELECT 1
            FROM concurrency_limits AS own
            WHERE own.namespace = asked.namespace
                AND own.name = asked.name
        ) THEN asked.name
        ELSE asked.template
    END

FROM UNNEST($2::text[], $3::text[], $4::text[]) AS asked (namespace, name, template)
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

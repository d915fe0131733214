SELECT (
    SELECT count(*)
    FROM concurrency_waits AS waits
    WHERE waits.namespace = asked.value ->> 0
        AND waits.limit_name = asked.value ->> 1
        AND waits.expires_at IS NULL
)
FROM json_each(?1) AS asked
ORDER BY asked.key

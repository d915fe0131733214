SELECT
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.value ->> 0
                AND waits.limit_name = asked.value ->> 1
                AND waits.handed_at = 0
                AND (waits.expires_at IS NULL OR waits.expires_at > ?3)
            LIMIT ?4
        ) AS not_handed
    ) + (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.value ->> 0
                AND waits.limit_name = asked.value ->> 1
                AND waits.handed_at >= ?2
            LIMIT ?4
        ) AS on_their_way
    )
FROM json_each(?1) AS asked
ORDER BY asked.key

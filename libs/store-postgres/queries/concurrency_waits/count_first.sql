SELECT
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.namespace
                AND waits.limit_name = asked.name
                AND waits.handed_at = 0
                AND (waits.expires_at IS NULL OR waits.expires_at > $4)
            LIMIT $5
        ) AS not_handed
    ) + (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.namespace
                AND waits.limit_name = asked.name
                AND waits.handed_at >= $3
            LIMIT $5
        ) AS on_their_way
    )
FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS asked (namespace, name, idx)
ORDER BY asked.idx

-- Of limits that this transaction has locked. Those that did not come in time: another is let through for each, once.
WITH used AS MATERIALIZED (
    SELECT lapsed.run_id
    FROM UNNEST($1::text[], $2::text[], $3::bigint[]) AS asked (namespace, name, n)
    CROSS JOIN LATERAL (
        SELECT waits.run_id
        FROM concurrency_waits AS waits
        WHERE waits.namespace = asked.namespace
            AND waits.limit_name = asked.name
            AND waits.handed_at > 0
            AND waits.reserved_until <> 0
            AND waits.reserved_until > $4
            AND waits.reserved_until <= $5
        ORDER BY waits.reserved_until
        LIMIT asked.n
        FOR UPDATE SKIP LOCKED
    ) AS lapsed
)
UPDATE concurrency_waits AS waits
SET reserved_until = -waits.reserved_until
FROM used
WHERE waits.run_id = used.run_id

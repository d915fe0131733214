-- Each part by an index of its own, and no further than it matters: many may wait.
SELECT
    (
        SELECT coalesce(sum(n_slots), 0)
        FROM (
            SELECT waits.n_slots
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.value ->> 0
                AND waits.limit_name = asked.value ->> 1
                AND waits.handed_at = 0
                AND (waits.expires_at IS NULL OR waits.expires_at > ?3)
                AND waits.run_id IS NOT ?5
            LIMIT ?4
        )
    ) AS n_waiting,
    (
        SELECT coalesce(sum(n_slots), 0)
        FROM (
            SELECT waits.n_slots
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.value ->> 0
                AND waits.limit_name = asked.value ->> 1
                AND waits.handed_at > 0
                AND waits.reserved_until <> 0
                AND waits.reserved_until > ?3
                AND waits.run_id IS NOT ?5
            LIMIT ?4
        )
    ) AS n_reserved,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.value ->> 0
                AND waits.limit_name = asked.value ->> 1
                AND waits.handed_at > 0
                AND waits.reserved_until <> 0
                AND waits.reserved_until > ?2
                AND waits.reserved_until <= ?3
                AND waits.run_id IS NOT ?5
            LIMIT ?4
        )
    ) AS n_lapsed
FROM json_each(?1) AS asked
ORDER BY asked.key

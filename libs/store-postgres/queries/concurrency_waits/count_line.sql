-- Each part by an index of its own, and no further than it matters: many may wait, and the limits are locked.
SELECT
    (
        SELECT coalesce(sum(n_slots), 0)
        FROM (
            SELECT waits.n_slots
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.namespace
                AND waits.limit_name = asked.name
                AND waits.handed_at = 0
                AND (waits.expires_at IS NULL OR waits.expires_at > $4)
                AND waits.run_id IS DISTINCT FROM $6
            LIMIT $5
        ) AS not_handed
    ) AS n_waiting,
    (
        SELECT coalesce(sum(n_slots), 0)
        FROM (
            SELECT waits.n_slots
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.namespace
                AND waits.limit_name = asked.name
                AND waits.handed_at > 0
                AND waits.reserved_until <> 0
                AND waits.reserved_until > $4
                AND waits.run_id IS DISTINCT FROM $6
            LIMIT $5
        ) AS on_their_way
    ) AS n_reserved,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits AS waits
            WHERE waits.namespace = asked.namespace
                AND waits.limit_name = asked.name
                AND waits.handed_at > 0
                AND waits.reserved_until <> 0
                AND waits.reserved_until > $3
                AND waits.reserved_until <= $4
                AND waits.run_id IS DISTINCT FROM $6
            LIMIT $5
        ) AS not_in_time
    ) AS n_lapsed
FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS asked (namespace, name, idx)
ORDER BY asked.idx

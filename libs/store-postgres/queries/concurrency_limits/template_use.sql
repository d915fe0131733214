SELECT
    (
        SELECT coalesce(sum(slots.n_slots), 0)
        FROM concurrency_slots AS slots
        WHERE slots.namespace = $1
            AND slots.limit_name >= $3
            AND slots.limit_name < $4
            AND (slots.expires_at IS NULL OR slots.expires_at > $5)
            AND NOT EXISTS (
                SELECT 1
                FROM concurrency_limits AS own
                WHERE own.namespace = slots.namespace
                    AND own.name = slots.limit_name
                    AND own.name <> $2
            )
    ) AS n_used,
    (
        SELECT count(*)
        FROM concurrency_waits AS waits
        WHERE waits.namespace = $1
            AND waits.limit_name >= $3
            AND waits.limit_name < $4
            AND waits.expires_at IS NULL
            AND NOT EXISTS (
                SELECT 1
                FROM concurrency_limits AS own
                WHERE own.namespace = waits.namespace
                    AND own.name = waits.limit_name
                    AND own.name <> $2
            )
    ) AS n_waiting

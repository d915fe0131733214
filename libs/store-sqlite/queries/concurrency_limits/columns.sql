SELECT
    asked.namespace,
    asked.name,
    limits.name,
    limits.has_slots,
    limits.max_slots,
    limits.max_starts,
    limits.period,
    limits.burst,
    limits.on_collision,
    limits.created_at,
    limits.updated_at,
    (
        SELECT coalesce(sum(slots.n_slots), 0)
        FROM concurrency_slots AS slots
        WHERE slots.namespace = asked.namespace
            AND slots.limit_name = asked.name
            AND (slots.expires_at IS NULL OR slots.expires_at > ?1)
    ) AS n_used,
    (
        SELECT rates.arrival
        FROM concurrency_rates AS rates
        WHERE rates.namespace = asked.namespace
            AND rates.limit_name = asked.name
    ) AS arrival,
    EXISTS (
        SELECT 1
        FROM concurrency_waits AS waits
        WHERE waits.namespace = asked.namespace
            AND waits.limit_name = asked.name
    ) AS is_awaited,
    EXISTS (
        SELECT 1
        FROM concurrency_waits AS waits
        WHERE waits.namespace = asked.namespace
            AND waits.limit_name = asked.name
            AND waits.n_slots > 1
            AND waits.expires_at > ?1
    ) AS awaits_several

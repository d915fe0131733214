SELECT
    limits.namespace,
    limits.name,
    limits.max_slots,
    limits.created_at,
    limits.updated_at,
    (
        SELECT count(*)
        FROM concurrency_slots AS slots
        WHERE slots.namespace = limits.namespace
            AND slots.limit_name = limits.name
            AND (slots.expires_at IS NULL OR slots.expires_at > $1)
    ) AS n_used

DELETE FROM concurrency_slots
WHERE (namespace, limit_name, owner) IN (
    SELECT slots.namespace, slots.limit_name, slots.owner
    FROM concurrency_slots AS slots
    WHERE slots.expires_at <= ?1
        OR (
            slots.expires_at IS NULL
            AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = slots.owner AND runs.holder IS NOT NULL)
        )
    ORDER BY slots.namespace, slots.limit_name, slots.owner
    LIMIT ?2
)
RETURNING namespace, limit_name, owner, acquired_at, expires_at, for_run, n_slots

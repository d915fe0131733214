WITH stray AS MATERIALIZED (
    SELECT slots.namespace, slots.limit_name, slots.owner
    FROM concurrency_slots AS slots
    WHERE slots.expires_at <= $1
        OR (
            slots.expires_at IS NULL
            AND NOT EXISTS (SELECT FROM runs WHERE runs.id = slots.owner AND runs.holder IS NOT NULL)
        )
    ORDER BY slots.namespace, slots.limit_name, slots.owner
    LIMIT $2
    FOR UPDATE OF slots SKIP LOCKED
)
DELETE FROM concurrency_slots AS slots
USING stray
WHERE (slots.namespace, slots.limit_name, slots.owner) = (stray.namespace, stray.limit_name, stray.owner)
RETURNING slots.namespace, slots.limit_name, slots.owner, slots.acquired_at, slots.expires_at, slots.for_run, slots.n_slots

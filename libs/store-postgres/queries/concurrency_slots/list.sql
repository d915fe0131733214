-- Of a limit, or of all that a template binds.
SELECT slots.namespace, slots.limit_name, slots.owner, slots.acquired_at, slots.expires_at, slots.for_run, slots.n_slots
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
ORDER BY slots.acquired_at, slots.owner
LIMIT $6

-- A child's key lasts as long as its parent is open.
DELETE FROM idempotency_keys
WHERE (namespace, scope, key) IN (
    SELECT owned.namespace, owned.scope, owned.key
    FROM idempotency_keys AS owned
    WHERE owned.expires_at < ?1
        AND NOT EXISTS (
            SELECT 1
            FROM runs
            WHERE owned.scope LIKE 'run:%'
                AND runs.id = unhex(replace(substr(owned.scope, 5), '-', ''))
                AND runs.ended_at IS NULL
        )
    ORDER BY owned.expires_at
    LIMIT ?2
)

WITH expired AS MATERIALIZED (
    SELECT namespace, scope, key
    FROM idempotency_keys
    WHERE expires_at < $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys AS gone
USING expired
WHERE (gone.namespace, gone.scope, gone.key) = (expired.namespace, expired.scope, expired.key)

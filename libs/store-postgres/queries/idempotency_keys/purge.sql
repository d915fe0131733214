-- A child's key that its parent, being open, may still need is kept for another day, so that it is not looked at in every
-- turn.
WITH expired AS MATERIALIZED (
    SELECT owned.namespace, owned.scope, owned.key, EXISTS (
        SELECT
        FROM runs
        WHERE runs.id = CASE WHEN owned.scope LIKE 'run:%' THEN SUBSTR(owned.scope, 5)::uuid END
            AND runs.ended_at IS NULL
    ) AS is_needed
    FROM idempotency_keys AS owned
    WHERE owned.expires_at < $1
    ORDER BY owned.expires_at
    LIMIT $2
    FOR UPDATE OF owned SKIP LOCKED
), kept AS (
    UPDATE idempotency_keys AS owned
    SET expires_at = $1 + 86400 * 1000000::bigint
    FROM expired
    WHERE (owned.namespace, owned.scope, owned.key) = (expired.namespace, expired.scope, expired.key)
        AND expired.is_needed
)
DELETE FROM idempotency_keys AS gone
USING expired
WHERE (gone.namespace, gone.scope, gone.key) = (expired.namespace, expired.scope, expired.key)
    AND NOT expired.is_needed

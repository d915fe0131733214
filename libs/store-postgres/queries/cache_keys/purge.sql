WITH expired AS MATERIALIZED (
    SELECT namespace, key
    FROM cache_keys
    WHERE expires_at < $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM cache_keys AS gone
USING expired
WHERE (gone.namespace, gone.key) = (expired.namespace, expired.key)

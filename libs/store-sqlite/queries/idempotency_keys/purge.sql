DELETE FROM idempotency_keys
WHERE (namespace, scope, key) IN (
    SELECT namespace, scope, key
    FROM idempotency_keys
    WHERE expires_at < ?1
    ORDER BY expires_at
    LIMIT ?2
)

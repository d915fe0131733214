DELETE FROM cache_keys
WHERE (namespace, key) IN (
    SELECT namespace, key
    FROM cache_keys
    WHERE expires_at < ?1
    ORDER BY expires_at
    LIMIT ?2
)

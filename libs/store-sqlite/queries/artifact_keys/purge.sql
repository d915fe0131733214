DELETE FROM artifact_keys
WHERE (namespace, key) IN (
    SELECT namespace, key
    FROM artifact_keys
    WHERE updated_at < ?1
        AND NOT EXISTS (
            SELECT 1 FROM artifacts
            WHERE artifacts.namespace = artifact_keys.namespace
                AND artifacts.key = artifact_keys.key
        )
    ORDER BY updated_at
    LIMIT ?2
)

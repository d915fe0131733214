WITH unused AS MATERIALIZED (
    SELECT namespace, key
    FROM artifact_keys
    WHERE updated_at < $1
        AND NOT EXISTS (
            SELECT
            FROM artifacts
            WHERE artifacts.namespace = artifact_keys.namespace
                AND artifacts.key = artifact_keys.key
        )
    ORDER BY updated_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM artifact_keys AS gone
USING unused
WHERE (gone.namespace, gone.key) = (unused.namespace, unused.key)

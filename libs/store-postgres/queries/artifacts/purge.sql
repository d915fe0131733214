WITH old AS MATERIALIZED (
    SELECT id
    FROM artifacts
    WHERE run_id IS NULL
        AND updated_at < $1
    ORDER BY updated_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM artifacts
USING old
WHERE artifacts.id = old.id

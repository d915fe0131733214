DELETE FROM artifacts
WHERE id IN (
    SELECT id
    FROM artifacts
    WHERE run_id IS NULL
        AND updated_at < ?1
    ORDER BY updated_at
    LIMIT ?2
)

-- A tree is kept as long as its root, and a run as long as the one right above it.
SELECT id
FROM runs
WHERE ended_at < ?1
    AND NOT cascade_pending
    AND NOT EXISTS (
        SELECT 1
        FROM runs AS parents
        WHERE parents.id = runs.parent_id
    )
    AND NOT EXISTS (
        SELECT 1
        FROM runs AS roots
        WHERE roots.id = runs.root_id
            AND (roots.ended_at IS NULL OR roots.ended_at >= ?1)
    )
ORDER BY ended_at
LIMIT ?2

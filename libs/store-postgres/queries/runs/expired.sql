-- Runs below $1 that ended before $2, as did the uppermost run above them: a tree is kept as long as its root.
SELECT runs.id
FROM runs
WHERE runs.id < $1
    AND runs.ended_at < $2
    AND NOT EXISTS (
        SELECT
        FROM runs AS roots
        WHERE roots.id = runs.root_id
            AND (roots.ended_at IS NULL OR roots.ended_at >= $2)
    )
ORDER BY runs.id
LIMIT $3
FOR UPDATE OF runs SKIP LOCKED

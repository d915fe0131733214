-- Runs below $1 that ended before $2, as did the uppermost run above them; the one right above them is gone. Locks nothing:
-- it may look at many to find some.
SELECT runs.id
FROM runs
WHERE runs.id < $1
    AND runs.ended_at < $2
    AND NOT runs.cascade_pending
    AND NOT EXISTS (
        SELECT
        FROM runs AS parents
        WHERE parents.id = runs.parent_id
    )
    AND NOT EXISTS (
        SELECT
        FROM runs AS roots
        WHERE roots.id = runs.root_id
            AND (roots.ended_at IS NULL OR roots.ended_at >= $2)
    )
ORDER BY runs.id
LIMIT $3

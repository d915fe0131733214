-- Whether one of the runs from $1 to below $2 is to be kept: it did not end before $3, or is in the tree of a run before
-- them that did not.
SELECT EXISTS (
    SELECT
    FROM runs
    WHERE runs.id >= $1
        AND runs.id < $2
        AND (runs.ended_at IS NULL OR runs.ended_at >= $3)
) OR EXISTS (
    SELECT
    FROM runs AS roots
    JOIN runs ON runs.root_id = roots.id
    WHERE roots.id < $1
        AND roots.parent_id IS NULL
        AND (roots.ended_at IS NULL OR roots.ended_at >= $3)
        AND runs.parent_id IS NOT NULL -- as runs_by_root has it
        AND runs.id >= $1
        AND runs.id < $2
)

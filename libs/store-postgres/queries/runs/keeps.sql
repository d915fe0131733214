-- Whether one of the runs from $1 to below $2 is to be kept: it did not end before $3, is still to end what is below it, is
-- in the tree of a run before them that did not end before $3, or is right below a run elsewhere, which is kept then.
SELECT EXISTS (
    SELECT
    FROM runs
    WHERE runs.id >= $1
        AND runs.id < $2
        AND (runs.ended_at IS NULL OR runs.ended_at >= $3 OR runs.cascade_pending)
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
) OR EXISTS (
    SELECT
    FROM runs
    CROSS JOIN LATERAL (
        SELECT
        FROM runs AS parents
        WHERE parents.id = runs.parent_id
        OFFSET 0 -- from the run to the one above, never the other way
    ) AS parent
    WHERE runs.id >= $1
        AND runs.id < $2
        AND (runs.parent_id < $1 OR runs.parent_id >= $2)
)

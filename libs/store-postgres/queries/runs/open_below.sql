-- Level by level, of each run the children by their index: OFFSET 0 keeps the planner from reading the whole table for a
-- level. A run of $1 is not gone through on the way from another one.
WITH RECURSIVE below (id, above, is_open) AS (
    SELECT child.id, parents.id, child.is_open
    FROM runs AS parents
    CROSS JOIN LATERAL (
        SELECT runs.id, runs.ended_at IS NULL AND runs.state <> 'CANCELLING' AS is_open
        FROM runs
        WHERE runs.parent_id = parents.id
            AND NOT CASE parents.state
                WHEN 'FAILED' THEN runs.detach_on_failure
                WHEN 'CRASHED' THEN runs.detach_on_crash
                ELSE runs.detach_on_cancel
            END
        OFFSET 0
    ) AS child
    WHERE parents.id = ANY($1)
        AND parents.id BETWEEN $2 AND $3
        AND child.id <> ALL($1)
    UNION ALL
    SELECT child.id, below.above, child.is_open
    FROM below
    CROSS JOIN LATERAL (
        SELECT runs.id, runs.ended_at IS NULL AND runs.state <> 'CANCELLING' AS is_open
        FROM runs
        WHERE runs.parent_id = below.id
            AND NOT runs.detach_on_cancel
        OFFSET 0
    ) AS child
    WHERE child.id <> ALL($1)
)
SELECT below.id, below.above
FROM below
WHERE below.is_open
ORDER BY below.id
LIMIT $4

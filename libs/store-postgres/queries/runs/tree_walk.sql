-- The run and what is below it, of each run the children by their index: OFFSET 0 keeps the planner from reading the
-- whole table for a level.
WITH RECURSIVE tree (id, depth, state, created_at) AS (
    SELECT runs.id, runs.depth, runs.state, runs.created_at
    FROM runs
    WHERE runs.id = $1
        AND runs.namespace = $2
    UNION ALL
    SELECT child.id, child.depth, child.state, child.created_at
    FROM tree
    CROSS JOIN LATERAL (
        SELECT runs.id, runs.depth, runs.state, runs.created_at
        FROM runs
        WHERE runs.parent_id = tree.id
            AND ($3 OR NOT runs.detach_on_cancel)
        OFFSET 0
    ) AS child
)

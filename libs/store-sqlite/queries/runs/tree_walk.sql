-- The run and what is below it, level by level by the index of children.
WITH RECURSIVE tree (id, depth, state, created_at) AS (
    SELECT runs.id, runs.depth, runs.state, runs.created_at
    FROM runs
    WHERE runs.id = ?1
        AND runs.namespace = ?2
    UNION ALL
    SELECT runs.id, runs.depth, runs.state, runs.created_at
    FROM tree
    JOIN runs ON runs.parent_id = tree.id
    WHERE ?3 OR NOT runs.policies ->> 'detach_on_cancel'
)

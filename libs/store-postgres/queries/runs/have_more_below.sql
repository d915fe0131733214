-- Of each run the children by their index (runs_by_parent), up to the first one that counts: OFFSET 0 keeps the planner from
-- reading the whole table.
SELECT parents.id
FROM UNNEST($1::uuid[]) AS parents (id)
CROSS JOIN LATERAL (
    SELECT
    FROM runs
    WHERE runs.parent_id = parents.id
        AND NOT runs.detach_on_cancel
        AND runs.state NOT IN ('CANCELLING', 'CANCELLED')
        AND runs.id <> ALL($1)
    LIMIT 1
    OFFSET 0
) AS child

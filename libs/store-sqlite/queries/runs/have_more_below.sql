WITH parents (id) AS MATERIALIZED (
    SELECT unhex(value) FROM json_each(?1)
)
SELECT parents.id
FROM parents
WHERE EXISTS (
    SELECT 1
    FROM runs
    WHERE runs.parent_id = parents.id
        AND NOT runs.policies ->> 'detach_on_cancel'
        AND runs.state NOT IN ('CANCELLING', 'CANCELLED')
        AND runs.id NOT IN (SELECT id FROM parents)
)

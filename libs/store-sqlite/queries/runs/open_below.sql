-- Level by level, each by the index of children. A run of ?1 is not gone through on the way from another one.
WITH RECURSIVE below (id, above, is_open) AS (
    SELECT runs.id, parents.id, runs.ended_at IS NULL AND runs.state <> 'CANCELLING'
    FROM runs AS parents
    JOIN runs ON runs.parent_id = parents.id
    WHERE parents.id IN (SELECT unhex(value) FROM json_each(?1))
        AND runs.id NOT IN (SELECT unhex(value) FROM json_each(?1))
        AND NOT CASE parents.state
            WHEN 'FAILED' THEN runs.policies ->> 'detach_on_failure'
            WHEN 'CRASHED' THEN runs.policies ->> 'detach_on_crash'
            ELSE runs.policies ->> 'detach_on_cancel'
        END
    UNION ALL
    SELECT runs.id, below.above, runs.ended_at IS NULL AND runs.state <> 'CANCELLING'
    FROM below
    JOIN runs ON runs.parent_id = below.id
    WHERE runs.id NOT IN (SELECT unhex(value) FROM json_each(?1))
        AND NOT runs.policies ->> 'detach_on_cancel'
)
SELECT below.id, below.above
FROM below
WHERE below.is_open
ORDER BY below.id
LIMIT ?2

SELECT runs.id
FROM runs AS parents
JOIN runs ON runs.parent_id = parents.id
WHERE parents.id IN (SELECT unhex(value) FROM json_each(?1))
    AND runs.ended_at IS NULL
    AND runs.state <> 'CANCELLING'
    AND NOT runs.policies ->> CASE parents.state
        WHEN 'FAILED' THEN 'detach_on_failure'
        WHEN 'CRASHED' THEN 'detach_on_crash'
        ELSE 'detach_on_cancel'
    END
ORDER BY runs.id
LIMIT ?2

SELECT runs.id
FROM runs AS parents
JOIN runs ON runs.parent_id = parents.id
WHERE parents.id = ANY($1)
    AND runs.ended_at IS NULL
    AND runs.state <> 'CANCELLING'
    AND NOT CASE parents.state
        WHEN 'FAILED' THEN runs.detach_on_failure
        WHEN 'CRASHED' THEN runs.detach_on_crash
        ELSE runs.detach_on_cancel
    END
ORDER BY runs.id
LIMIT $2

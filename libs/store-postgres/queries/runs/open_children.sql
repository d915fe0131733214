SELECT runs.id
FROM runs
WHERE runs.parent_id = ANY($1)
    AND runs.ended_at IS NULL
    AND runs.state <> 'CANCELLING'
    AND NOT runs.detached
ORDER BY runs.id
LIMIT $2

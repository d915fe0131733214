SELECT runs.id
FROM runs
WHERE runs.parent_id IN (SELECT unhex(value) FROM json_each(?1))
    AND runs.ended_at IS NULL
    AND runs.state <> 'CANCELLING'
    AND runs.policies ->> 'detached' = 0
ORDER BY runs.id
LIMIT ?2

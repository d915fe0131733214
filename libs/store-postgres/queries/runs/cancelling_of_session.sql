FROM runs
WHERE runs.session_id = $1
    AND runs.ended_at IS NULL
    AND runs.state = 'CANCELLING'
ORDER BY runs.id
LIMIT $2

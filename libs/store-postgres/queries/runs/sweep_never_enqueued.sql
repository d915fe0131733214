FROM runs
WHERE runs.state = 'SCHEDULED'
    AND runs.queue IS NOT NULL
    AND runs.enqueued_at IS NULL
    AND runs.due_at <= $1
ORDER BY runs.due_at
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED

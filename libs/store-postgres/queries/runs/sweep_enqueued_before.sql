FROM runs
WHERE runs.state = 'SCHEDULED'
    AND runs.queue IS NOT NULL
    AND runs.enqueued_at IS NOT NULL
    AND runs.state_name <> 'AwaitingConcurrencySlot'
    AND runs.enqueued_at < $2
    AND runs.due_at <= $1
ORDER BY runs.enqueued_at
LIMIT $3
FOR NO KEY UPDATE SKIP LOCKED

-- As the settings stand before they change: a limit of this name that somebody defined is not the queue's.
DELETE FROM concurrency_limits
WHERE namespace = $1
    AND name = $3
    AND EXISTS (
        SELECT FROM queues
        WHERE queues.namespace = $1
            AND queues.name = $2
            AND queues.max_slots IS NOT NULL
    )

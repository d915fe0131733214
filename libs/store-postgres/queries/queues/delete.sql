DELETE FROM queues
WHERE namespace = $1
    AND name = $2

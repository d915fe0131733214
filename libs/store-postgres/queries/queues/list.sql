FROM queues
WHERE queues.namespace = $1
    AND ($2::text IS NULL OR queues.name > $2)
ORDER BY queues.name
LIMIT $3

FROM runs
WHERE runs.cascade_pending
ORDER BY runs.id
LIMIT $1
FOR NO KEY UPDATE SKIP LOCKED

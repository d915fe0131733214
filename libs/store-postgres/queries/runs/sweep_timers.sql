FROM runs
WHERE runs.timer_at IS NOT NULL
    AND runs.timer_at <= $1
ORDER BY runs.timer_at
LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED

FROM runs
WHERE runs.queue IS NOT NULL
    AND runs.holder IS NOT NULL
    AND runs.id > $1
    AND runs.state_at < $2
ORDER BY runs.id
LIMIT $3

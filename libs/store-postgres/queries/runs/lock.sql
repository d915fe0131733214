-- Locked in id order, so that two batches cannot deadlock: the locks are taken after the sort.
FROM runs
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
ORDER BY runs.id
FOR NO KEY UPDATE

-- In the order of runs/lock.sql. FOR SHARE and not FOR KEY SHARE: no column may change.
FROM runs
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
ORDER BY runs.id
FOR SHARE

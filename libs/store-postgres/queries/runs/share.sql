-- In the order of runs/lock.sql. FOR SHARE and not FOR KEY SHARE: no column may change.
FROM runs
WHERE runs.id = ANY($1)
ORDER BY runs.id
FOR SHARE

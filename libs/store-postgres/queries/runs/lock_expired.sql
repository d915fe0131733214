-- Of what runs/expired.sql has found: those that were not tried again meanwhile and that nobody else has locked.
SELECT runs.id
FROM runs
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
    AND runs.ended_at < $4
    AND NOT runs.cascade_pending
ORDER BY runs.id
FOR UPDATE SKIP LOCKED

-- Of rows that this transaction has locked.
DELETE FROM runs
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
    AND runs.ended_at IS NOT NULL
    AND NOT runs.cascade_pending -- what is to end with it would not be found any more
RETURNING runs.id

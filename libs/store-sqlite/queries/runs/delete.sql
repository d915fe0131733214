DELETE FROM runs
WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    AND ended_at IS NOT NULL
    AND NOT cascade_pending -- what is to end with it would not be found any more
RETURNING id

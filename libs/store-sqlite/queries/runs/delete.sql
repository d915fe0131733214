DELETE FROM runs
WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    AND ended_at IS NOT NULL
RETURNING id

WHERE run_id IN (SELECT unhex(value) FROM json_each(?3))
    AND position > ?1
ORDER BY position
LIMIT ?2

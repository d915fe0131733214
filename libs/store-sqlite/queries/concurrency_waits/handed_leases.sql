SELECT run_id
FROM concurrency_waits
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
    AND handed_at > 0

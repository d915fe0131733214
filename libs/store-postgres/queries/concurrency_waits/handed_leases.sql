SELECT run_id
FROM concurrency_waits
WHERE run_id = ANY($1)
    AND handed_at > 0

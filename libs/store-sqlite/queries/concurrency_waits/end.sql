DELETE FROM concurrency_waits
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
RETURNING namespace, limit_name

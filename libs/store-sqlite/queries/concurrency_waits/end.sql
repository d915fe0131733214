DELETE FROM concurrency_waits
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
    AND expires_at IS NULL
RETURNING namespace, limit_name, priority, fairness_key, turn, handed_at, run_id

DELETE FROM concurrency_waits
WHERE run_id = ?2
    AND namespace = ?1
    AND expires_at IS NOT NULL
RETURNING namespace, limit_name, priority, fairness_key, turn, handed_at

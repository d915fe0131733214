DELETE FROM concurrency_waits
WHERE run_id IN (
    SELECT run_id
    FROM concurrency_waits
    WHERE expires_at <= ?1
    ORDER BY expires_at
    LIMIT ?2
)
RETURNING namespace, limit_name, priority, fairness_key, turn, handed_at

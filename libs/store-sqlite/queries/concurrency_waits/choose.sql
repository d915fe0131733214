-- Who of a key is served: those that are due first.
SELECT run_id, turn
FROM concurrency_waits
WHERE namespace = ?1
    AND limit_name = ?2
    AND priority = ?5
    AND fairness_key = ?6
    AND handed_at = 0
    AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY due_at, run_id
LIMIT ?4

-- Whose turn it is. The turns are tickets of the keys: who of a key is served is chosen by choose.sql.
SELECT run_id, priority, fairness_key, turn
FROM concurrency_waits
WHERE namespace = ?1
    AND limit_name = ?2
    AND handed_at = 0
    AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY priority DESC, turn, due_at, run_id
LIMIT ?4

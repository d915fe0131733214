-- Those that were handed out before, and may have been lost.
SELECT run_id
FROM concurrency_waits
WHERE namespace = ?1
    AND limit_name = ?2
    AND handed_at > 0
    AND handed_at < ?5
    AND (expires_at IS NULL OR expires_at > ?3)
ORDER BY handed_at, priority DESC, due_at, run_id
LIMIT ?4

UPDATE concurrency_waits
SET handed_at = ?5
WHERE run_id IN (
    SELECT run_id
    FROM concurrency_waits
    WHERE namespace = ?1
        AND limit_name = ?2
        AND handed_at < ?3
        AND (expires_at IS NULL OR expires_at > ?5)
    ORDER BY handed_at, priority DESC, due_at, run_id
    LIMIT ?4 - (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits
            WHERE namespace = ?1
                AND limit_name = ?2
                AND handed_at >= ?6
            LIMIT ?4
        )
    )
)
RETURNING run_id

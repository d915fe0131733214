-- Two parts, each with an index of its own, and no further than it matters: many may wait. The plus keeps the second part
-- off the index of the first.
SELECT count(*)
FROM (
    SELECT 1
    FROM concurrency_waits
    WHERE namespace = ?1
        AND limit_name = ?2
        AND handed_at >= ?5
        AND run_id <> ?3
    UNION ALL
    SELECT 1
    FROM concurrency_waits
    WHERE namespace = ?1
        AND limit_name = ?2
        AND (due_at, run_id) < (?4, ?3)
        AND expires_at > ?6
        AND +handed_at < ?5
    LIMIT ?7
)

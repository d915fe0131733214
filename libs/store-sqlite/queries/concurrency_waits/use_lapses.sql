-- Those that did not come in time: another is let through for each, once.
UPDATE concurrency_waits
SET reserved_until = -reserved_until
WHERE run_id IN (
    SELECT run_id
    FROM concurrency_waits
    WHERE namespace = ?1
        AND limit_name = ?2
        AND handed_at > 0
        AND reserved_until <> 0
        AND reserved_until > ?3
        AND reserved_until <= ?4
    ORDER BY reserved_until
    LIMIT ?5
)

SELECT count(*)
FROM concurrency_waits
WHERE namespace = ?1
    AND limit_name = ?2
    AND run_id <> ?3
    AND (
        handed_at >= ?5
        OR (
            expires_at > ?6
            AND (due_at, run_id) < (?4, ?3)
        )
    )

-- Two parts, each in the order of an index of its own, and no further than it matters: many may wait, and the limit is
-- locked.
SELECT count(*)
FROM (
    (
        SELECT 1
        FROM concurrency_waits
        WHERE namespace = $1
            AND limit_name = $2
            AND handed_at >= $5
            AND run_id <> $3
        ORDER BY handed_at
        LIMIT $7
    )
    UNION ALL
    (
        SELECT 1
        FROM concurrency_waits
        WHERE namespace = $1
            AND limit_name = $2
            AND (due_at, run_id) < ($4, $3)
            AND expires_at > $6
            AND handed_at < $5
        ORDER BY due_at, run_id
        LIMIT $7
    )
    LIMIT $7
) AS before

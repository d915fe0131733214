-- How many may be handed out: as many as are free, less those that are on their way, and as many more as came not in time.
WITH free AS (
    SELECT min(?4 - (
        SELECT coalesce(sum(n_slots), 0)
        FROM concurrency_slots
        WHERE namespace = ?1
            AND limit_name = ?2
            AND (expires_at IS NULL OR expires_at > ?3)
    ), ?5) AS n
)
SELECT CASE
    WHEN free.n <= 0 THEN 0
    WHEN free.n >= 1000000 THEN ?8
    ELSE max(0, min(?8, free.n + ?6 + (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits
            WHERE namespace = ?1
                AND limit_name = ?2
                AND handed_at > 0
                AND reserved_until <> 0
                AND reserved_until > ?9
                AND reserved_until <= ?3
            UNION ALL
            SELECT 1
            FROM concurrency_waits
            WHERE namespace = ?1
                AND limit_name = ?2
                AND handed_at > 0
                AND reserved_until <> 0
                AND reserved_until < -?9
                AND reserved_until >= -?3
            LIMIT ?7
        ) AS not_in_time
    ) - (
        SELECT coalesce(sum(n_slots), 0)
        FROM concurrency_waits
        WHERE namespace = ?1
            AND limit_name = ?2
            AND handed_at > 0
            AND reserved_until <> 0
            AND reserved_until > ?3
    )))
END
FROM free

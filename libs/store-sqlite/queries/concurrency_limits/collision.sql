SELECT
    (
        SELECT count(*)
        FROM concurrency_slots
        WHERE namespace = ?1
            AND limit_name = ?2
            AND asked > 0
    ) AS n_asked,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM concurrency_waits
            WHERE namespace = ?1
                AND limit_name = ?2
                AND expires_at IS NULL
            LIMIT (
                SELECT ?3 + count(*)
                FROM concurrency_slots
                WHERE namespace = ?1
                    AND limit_name = ?2
                    AND asked > 0
            )
        ) AS waits
    ) AS n_waiting,
    (
        SELECT owner
        FROM concurrency_slots
        WHERE namespace = ?1
            AND limit_name = ?2
            AND expires_at IS NULL
        ORDER BY owner DESC
        LIMIT 1
    ) AS newest

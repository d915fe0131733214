SELECT
    (
        SELECT count(*)
        FROM concurrency_slots
        WHERE namespace = $1
            AND limit_name = $2
            AND asked > 0
    ) AS n_asked,
    (
        SELECT count(*)
        FROM concurrency_waits
        WHERE namespace = $1
            AND limit_name = $2
            AND expires_at IS NULL
    ) AS n_waiting

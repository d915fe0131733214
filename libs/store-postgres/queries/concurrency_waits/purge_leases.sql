WITH silent AS MATERIALIZED (
    SELECT run_id
    FROM concurrency_waits
    WHERE expires_at <= $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM concurrency_waits AS waits
USING silent
WHERE waits.run_id = silent.run_id

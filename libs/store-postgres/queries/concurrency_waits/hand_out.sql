WITH handed AS MATERIALIZED (
    SELECT run_id
    FROM concurrency_waits
    WHERE namespace = $1
        AND limit_name = $2
        AND handed_at < $3
    ORDER BY handed_at, priority DESC, due_at, run_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE concurrency_waits AS waits
SET handed_at = $5
FROM handed
WHERE waits.run_id = handed.run_id
RETURNING waits.run_id

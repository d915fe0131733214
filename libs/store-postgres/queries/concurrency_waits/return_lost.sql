-- Into the line again, where they were.
WITH lost AS MATERIALIZED (
    SELECT run_id
    FROM concurrency_waits
    WHERE namespace = $1
        AND limit_name = $2
        AND handed_at > 0
        AND handed_at < $3
        AND expires_at IS NULL
    ORDER BY handed_at, priority DESC, due_at, run_id
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE concurrency_waits AS waits
SET handed_at = 0,
    reserved_until = 0
FROM lost
WHERE waits.run_id = lost.run_id

-- Of runs that this transaction has locked. Where one leaves that was not handed out, the next of its key gets its turn.
WITH ended AS (
    DELETE FROM concurrency_waits
    WHERE run_id = ANY($1)
        AND expires_at IS NULL
    RETURNING namespace, limit_name, priority, fairness_key, turn, handed_at
), moved_up AS MATERIALIZED (
    SELECT next.run_id, gone.turn
    FROM (
        SELECT namespace, limit_name, priority, fairness_key, min(turn) AS turn
        FROM ended
        WHERE handed_at = 0
        GROUP BY namespace, limit_name, priority, fairness_key
    ) AS gone
    CROSS JOIN LATERAL (
        SELECT waits.run_id, waits.turn
        FROM concurrency_waits AS waits
        WHERE waits.namespace = gone.namespace
            AND waits.limit_name = gone.limit_name
            AND waits.priority = gone.priority
            AND waits.fairness_key = gone.fairness_key
            AND waits.handed_at = 0
            AND waits.turn >= gone.turn
            AND waits.run_id <> ALL($1)
        ORDER BY waits.turn
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS next
    WHERE next.turn > gone.turn
), moved AS (
    UPDATE concurrency_waits AS waits
    SET turn = moved_up.turn
    FROM moved_up
    WHERE waits.run_id = moved_up.run_id
)
SELECT namespace, limit_name
FROM ended

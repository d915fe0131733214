WITH silent AS MATERIALIZED (
    SELECT run_id
    FROM concurrency_waits
    WHERE expires_at <= $1
    ORDER BY expires_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), ended AS (
    DELETE FROM concurrency_waits AS waits
    USING silent
    WHERE waits.run_id = silent.run_id
    RETURNING waits.namespace, waits.limit_name, waits.priority, waits.fairness_key, waits.turn, waits.handed_at
), gone AS MATERIALIZED (
    SELECT namespace, limit_name, priority, fairness_key, min(turn) AS turn
    FROM ended
    WHERE handed_at = 0
    GROUP BY namespace, limit_name, priority, fairness_key
), next AS MATERIALIZED (
    SELECT
        concurrency_waits_next(namespace, limit_name, priority, fairness_key, turn, ARRAY(SELECT silent.run_id FROM silent)) AS run_id,
        turn
    FROM gone
), moved_up AS MATERIALIZED (
    SELECT waits.run_id, next.turn
    FROM next
    JOIN concurrency_waits AS waits ON waits.run_id = next.run_id
    WHERE waits.handed_at = 0
        AND waits.turn > next.turn
    FOR UPDATE OF waits SKIP LOCKED
), moved AS (
    UPDATE concurrency_waits AS waits
    SET turn = moved_up.turn
    FROM moved_up
    WHERE waits.run_id = moved_up.run_id
)
SELECT count(*)
FROM ended

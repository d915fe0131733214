-- Where it was not its turn, the next of the same key, that of those without one, gets its turn.
WITH ended AS (
    DELETE FROM concurrency_waits
    WHERE run_id = $2
        AND namespace = $1
        AND expires_at IS NOT NULL
    RETURNING namespace, limit_name, priority, fairness_key, turn, handed_at
), gone AS MATERIALIZED (
    SELECT namespace, limit_name, priority, fairness_key, min(turn) AS turn
    FROM ended
    WHERE handed_at = 0
    GROUP BY namespace, limit_name, priority, fairness_key
), next AS MATERIALIZED (
    SELECT
        concurrency_waits_next(namespace, limit_name, priority, fairness_key, turn, ARRAY[$2]) AS run_id,
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
SELECT namespace, limit_name
FROM ended

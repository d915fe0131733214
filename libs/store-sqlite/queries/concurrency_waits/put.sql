-- The turns of a key go by twos: a key that is new comes after one run of each other, and before the second.
WITH new AS MATERIALIZED (
    SELECT
        unhex(value ->> 0) AS run_id,
        value ->> 1 AS namespace,
        value ->> 2 AS limit_name,
        value ->> 3 AS priority,
        value ->> 4 AS due_at,
        value ->> 5 AS fairness_key
    FROM json_each(?1)
), lines AS MATERIALIZED (
    SELECT
        keys.*,
        (
            SELECT waits.turn
            FROM concurrency_waits AS waits
            WHERE waits.namespace = keys.namespace
                AND waits.limit_name = keys.limit_name
                AND waits.priority = keys.priority
                AND waits.fairness_key = keys.fairness_key
                AND waits.handed_at = 0
            ORDER BY waits.turn DESC
            LIMIT 1
        ) AS last_turn,
        (
            SELECT waits.turn
            FROM concurrency_waits AS waits
            WHERE waits.namespace = keys.namespace
                AND waits.limit_name = keys.limit_name
                AND waits.priority = keys.priority
                AND waits.handed_at = 0
                AND waits.expires_at IS NULL
            ORDER BY waits.turn
            LIMIT 1
        ) AS first_turn
    FROM (SELECT DISTINCT namespace, limit_name, priority, fairness_key FROM new) AS keys
)
INSERT INTO concurrency_waits
    (run_id, namespace, limit_name, priority, due_at, fairness_key, handed_at, reserved_until, turn)
SELECT
    new.run_id,
    new.namespace,
    new.limit_name,
    new.priority,
    new.due_at,
    new.fairness_key,
    0,
    0,
    coalesce(lines.last_turn + 2, lines.first_turn + 1, 1) + 2 * (row_number() OVER (
        PARTITION BY new.namespace, new.limit_name, new.priority, new.fairness_key
        ORDER BY new.due_at, new.run_id
    ) - 1)
FROM new
JOIN lines USING (namespace, limit_name, priority, fairness_key)
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (run_id) DO UPDATE
SET namespace = excluded.namespace,
    limit_name = excluded.limit_name,
    priority = excluded.priority,
    due_at = excluded.due_at,
    fairness_key = excluded.fairness_key,
    handed_at = excluded.handed_at,
    reserved_until = excluded.reserved_until,
    turn = CASE
        WHEN concurrency_waits.namespace = excluded.namespace
            AND concurrency_waits.limit_name = excluded.limit_name
            AND concurrency_waits.priority = excluded.priority
            AND concurrency_waits.fairness_key = excluded.fairness_key
        -- Not before those of today: newer ones would come between it and them.
        THEN max(concurrency_waits.turn, coalesce((
            SELECT first.turn
            FROM concurrency_waits AS first
            WHERE first.namespace = excluded.namespace
                AND first.limit_name = excluded.limit_name
                AND first.priority = excluded.priority
                AND first.handed_at = 0
                AND first.expires_at IS NULL
            ORDER BY first.turn
            LIMIT 1
        ), concurrency_waits.turn))
        ELSE excluded.turn
    END,
    expires_at = NULL,
    n_slots = 1

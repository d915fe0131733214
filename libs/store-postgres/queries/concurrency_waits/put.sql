-- Of runs and limits that this transaction has locked. The turns of a key go by twos: a key that is new comes after one run
-- of each other, and before the second.
WITH new AS MATERIALIZED (
    SELECT *
    FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::bigint[], $6::text[])
        AS new (run_id, namespace, limit_name, priority, due_at, fairness_key)
), lines AS MATERIALIZED (
    SELECT
        keys.*,
        concurrency_waits_last_turn(
            keys.namespace, keys.limit_name, keys.priority, keys.fairness_key
        ) AS last_turn,
        concurrency_waits_first_turn(keys.namespace, keys.limit_name, keys.priority) AS first_turn
    FROM (SELECT DISTINCT namespace, limit_name, priority, fairness_key FROM new) AS keys
)
INSERT INTO concurrency_waits AS waits
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
    COALESCE(lines.last_turn + 2, lines.first_turn + 1, 1) + 2 * (row_number() OVER (
        PARTITION BY new.namespace, new.limit_name, new.priority, new.fairness_key
        ORDER BY new.due_at, new.run_id
    ) - 1)
FROM new
JOIN lines USING (namespace, limit_name, priority, fairness_key)
ON CONFLICT (run_id) DO UPDATE
SET namespace = EXCLUDED.namespace,
    limit_name = EXCLUDED.limit_name,
    priority = EXCLUDED.priority,
    due_at = EXCLUDED.due_at,
    fairness_key = EXCLUDED.fairness_key,
    handed_at = EXCLUDED.handed_at,
    reserved_until = EXCLUDED.reserved_until,
    turn = CASE
        WHEN waits.namespace = EXCLUDED.namespace
            AND waits.limit_name = EXCLUDED.limit_name
            AND waits.priority = EXCLUDED.priority
            AND waits.fairness_key = EXCLUDED.fairness_key
        -- Not before those of today: newer ones would come between it and them.
        THEN GREATEST(
            waits.turn,
            concurrency_waits_first_turn(EXCLUDED.namespace, EXCLUDED.limit_name, EXCLUDED.priority)
        )
        ELSE EXCLUDED.turn
    END,
    expires_at = NULL,
    n_slots = 1

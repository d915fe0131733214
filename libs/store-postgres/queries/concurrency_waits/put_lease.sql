-- Of a limit that this transaction has locked. Who waits for a lease has no key.
INSERT INTO concurrency_waits AS waits
    (run_id, namespace, limit_name, priority, due_at, handed_at, expires_at, turn)
VALUES ($1, $2, $3, 0, $4, $5, $6, COALESCE(
    (
        SELECT last.turn + 2
        FROM concurrency_waits AS last
        WHERE last.namespace = $2
            AND last.limit_name = $3
            AND last.priority = 0
            AND last.fairness_key = ''
            AND last.handed_at = 0
        ORDER BY last.turn DESC
        LIMIT 1
    ),
    (
        SELECT first.turn + 1
        FROM concurrency_waits AS first
        WHERE first.namespace = $2
            AND first.limit_name = $3
            AND first.priority = 0
            AND first.handed_at = 0
            AND first.expires_at IS NULL
        ORDER BY first.turn
        LIMIT 1
    ),
    1
))
ON CONFLICT (run_id) DO UPDATE
SET namespace = EXCLUDED.namespace,
    limit_name = EXCLUDED.limit_name,
    due_at = EXCLUDED.due_at,
    handed_at = EXCLUDED.handed_at,
    reserved_until = 0,
    expires_at = EXCLUDED.expires_at,
    turn = CASE
        WHEN waits.limit_name = EXCLUDED.limit_name THEN waits.turn
        ELSE EXCLUDED.turn
    END
WHERE waits.expires_at IS NOT NULL
    AND waits.namespace = EXCLUDED.namespace

-- Who waits for a lease has no key.
INSERT INTO concurrency_waits
    (run_id, namespace, limit_name, priority, due_at, handed_at, expires_at, n_slots, reserved_until, turn)
VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, coalesce(
    (
        SELECT last.turn + 2
        FROM concurrency_waits AS last
        WHERE last.namespace = ?2
            AND last.limit_name = ?3
            AND last.priority = 0
            AND last.fairness_key = ''
            AND last.handed_at = 0
        ORDER BY last.turn DESC
        LIMIT 1
    ),
    (
        SELECT first.turn + 1
        FROM concurrency_waits AS first
        WHERE first.namespace = ?2
            AND first.limit_name = ?3
            AND first.priority = 0
            AND first.handed_at = 0
            AND first.expires_at IS NULL
        ORDER BY first.turn
        LIMIT 1
    ),
    1
))
ON CONFLICT (run_id) DO UPDATE
SET namespace = excluded.namespace,
    limit_name = excluded.limit_name,
    due_at = excluded.due_at,
    handed_at = excluded.handed_at,
    reserved_until = excluded.reserved_until,
    n_slots = excluded.n_slots,
    expires_at = excluded.expires_at,
    turn = CASE
        WHEN concurrency_waits.limit_name = excluded.limit_name THEN concurrency_waits.turn
        ELSE excluded.turn
    END
WHERE concurrency_waits.expires_at IS NOT NULL
    AND concurrency_waits.namespace = excluded.namespace

-- Of a limit that this transaction has locked. Who waits for a lease has no key.
INSERT INTO concurrency_waits AS waits
    (run_id, namespace, limit_name, priority, due_at, handed_at, expires_at, n_slots, reserved_until, turn)
VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, COALESCE(
    concurrency_waits_last_turn($2, $3, 0, '') + 2,
    concurrency_waits_first_turn($2, $3, 0) + 1,
    1
))
ON CONFLICT (run_id) DO UPDATE
SET namespace = EXCLUDED.namespace,
    limit_name = EXCLUDED.limit_name,
    due_at = EXCLUDED.due_at,
    handed_at = EXCLUDED.handed_at,
    reserved_until = EXCLUDED.reserved_until,
    n_slots = EXCLUDED.n_slots,
    expires_at = EXCLUDED.expires_at,
    turn = CASE
        WHEN waits.limit_name = EXCLUDED.limit_name THEN waits.turn
        ELSE EXCLUDED.turn
    END
WHERE waits.expires_at IS NOT NULL
    AND waits.namespace = EXCLUDED.namespace

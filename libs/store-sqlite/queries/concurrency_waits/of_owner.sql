SELECT namespace, limit_name, due_at, handed_at, expires_at, n_slots, reserved_until
FROM concurrency_waits
WHERE run_id = ?1
    AND expires_at IS NOT NULL

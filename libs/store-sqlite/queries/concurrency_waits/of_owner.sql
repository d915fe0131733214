SELECT namespace, limit_name, due_at, handed_at, expires_at
FROM concurrency_waits
WHERE run_id = ?1
    AND expires_at IS NOT NULL

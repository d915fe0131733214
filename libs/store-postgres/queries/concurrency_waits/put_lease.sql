INSERT INTO concurrency_waits (run_id, namespace, limit_name, priority, due_at, handed_at, expires_at)
VALUES ($1, $2, $3, 0, $4, $5, $6)
ON CONFLICT (run_id) DO UPDATE
SET namespace = EXCLUDED.namespace,
    limit_name = EXCLUDED.limit_name,
    due_at = EXCLUDED.due_at,
    handed_at = EXCLUDED.handed_at,
    expires_at = EXCLUDED.expires_at
WHERE concurrency_waits.expires_at IS NOT NULL
    AND concurrency_waits.namespace = EXCLUDED.namespace

INSERT INTO concurrency_waits (run_id, namespace, limit_name, priority, due_at, handed_at, expires_at)
VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)
ON CONFLICT (run_id) DO UPDATE
SET namespace = excluded.namespace,
    limit_name = excluded.limit_name,
    due_at = excluded.due_at,
    handed_at = excluded.handed_at,
    expires_at = excluded.expires_at
WHERE concurrency_waits.expires_at IS NOT NULL
    AND concurrency_waits.namespace = excluded.namespace

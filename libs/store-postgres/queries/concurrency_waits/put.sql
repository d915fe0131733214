-- Of runs that this transaction has locked.
INSERT INTO concurrency_waits (run_id, namespace, limit_name, priority, due_at, handed_at)
SELECT new.*, 0
FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::integer[], $5::bigint[]) AS new
ON CONFLICT (run_id) DO UPDATE
SET namespace = EXCLUDED.namespace,
    limit_name = EXCLUDED.limit_name,
    priority = EXCLUDED.priority,
    due_at = EXCLUDED.due_at,
    handed_at = EXCLUDED.handed_at,
    expires_at = NULL

INSERT INTO concurrency_waits (run_id, namespace, limit_name, priority, due_at, handed_at)
SELECT unhex(v ->> 0), v ->> 1, v ->> 2, v ->> 3, v ->> 4, 0
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (run_id) DO UPDATE
SET namespace = excluded.namespace,
    limit_name = excluded.limit_name,
    priority = excluded.priority,
    due_at = excluded.due_at,
    handed_at = excluded.handed_at,
    expires_at = NULL

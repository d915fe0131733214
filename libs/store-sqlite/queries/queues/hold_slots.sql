INSERT INTO concurrency_slots (namespace, limit_name, owner, acquired_at)
SELECT ?1, ?3, id, ?4
FROM runs
WHERE namespace = ?1
    AND queue = ?2
    AND holder IS NOT NULL
    AND queue_slot = 0
ON CONFLICT (namespace, limit_name, owner) DO NOTHING

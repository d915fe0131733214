SELECT namespace, limit_name, owner, acquired_at, expires_at, for_run, n_slots
FROM concurrency_slots
WHERE owner = ?1
ORDER BY namespace, limit_name

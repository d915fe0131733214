SELECT scope, key, n_answers, answered_at
FROM idempotency_keys
WHERE run_id = ?2
    AND namespace = ?1
ORDER BY scope, key
LIMIT ?3

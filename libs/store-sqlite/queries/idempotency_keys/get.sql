SELECT run_id
FROM idempotency_keys
WHERE namespace = ?1
    AND scope = ?2
    AND key = ?3
    AND (expires_at > ?4 OR scope LIKE 'run:%') -- a child's key lasts as long as its parent is open

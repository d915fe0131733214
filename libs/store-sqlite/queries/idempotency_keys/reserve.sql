INSERT INTO idempotency_keys (namespace, scope, key, run_id, params_hash, expires_at)
SELECT v ->> 0, v ->> 1, v ->> 2, unhex(v ->> 3), unhex(v ->> 4), v ->> 5
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (namespace, scope, key) DO UPDATE
SET run_id = excluded.run_id,
    params_hash = excluded.params_hash,
    expires_at = excluded.expires_at,
    n_answers = 0,
    answered_at = NULL
WHERE idempotency_keys.expires_at <= ?2
    AND idempotency_keys.scope NOT LIKE 'run:%' -- a child's key lasts as long as its parent is open

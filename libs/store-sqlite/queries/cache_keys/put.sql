INSERT INTO cache_keys (namespace, key, run_id, expires_at)
SELECT v ->> 0, v ->> 1, unhex(v ->> 2), v ->> 3
FROM (SELECT key AS idx, value AS v FROM json_each(?1) ORDER BY idx)
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (namespace, key) DO UPDATE
SET run_id = excluded.run_id,
    expires_at = excluded.expires_at

SELECT cache_keys.namespace, cache_keys.key, cache_keys.run_id
FROM json_each(?1) AS asked
JOIN cache_keys
    ON cache_keys.namespace = asked.value ->> 0
    AND cache_keys.key = asked.value ->> 1
WHERE cache_keys.expires_at > ?2

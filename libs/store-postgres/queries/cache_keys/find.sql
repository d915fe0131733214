SELECT cache_keys.namespace, cache_keys.key, cache_keys.run_id
FROM cache_keys
JOIN UNNEST($1::text[], $2::text[]) AS asked (namespace, key)
    ON cache_keys.namespace = asked.namespace
    AND cache_keys.key = asked.key
WHERE cache_keys.expires_at > $3

SELECT owned.namespace, owned.scope, owned.key, owned.run_id, owned.params_hash
FROM json_each(?1) AS asked
JOIN idempotency_keys AS owned
    ON owned.namespace = asked.value ->> 0
    AND owned.scope = asked.value ->> 1
    AND owned.key = asked.value ->> 2
WHERE owned.expires_at > ?2
    OR owned.scope LIKE 'run:%' -- it lasts as long as the parent is open

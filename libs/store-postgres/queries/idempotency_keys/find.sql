SELECT owned.namespace, owned.scope, owned.key, owned.run_id, owned.params_hash
FROM UNNEST($1::text[], $2::text[], $3::text[]) AS asked (namespace, scope, key)
JOIN idempotency_keys AS owned USING (namespace, scope, key)
WHERE owned.expires_at > $4
    OR owned.scope LIKE 'run:%' -- it lasts as long as the parent is open

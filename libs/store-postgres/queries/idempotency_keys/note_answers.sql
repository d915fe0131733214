-- Of keys that this transaction has reserved, so that their rows are locked.
UPDATE idempotency_keys AS owned
SET n_answers = owned.n_answers + answered.n,
    answered_at = $5
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::bigint[]) AS answered (namespace, scope, key, n)
WHERE (owned.namespace, owned.scope, owned.key) = (answered.namespace, answered.scope, answered.key)

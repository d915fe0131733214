WITH named AS MATERIALIZED (
    SELECT namespace, scope, key
    FROM idempotency_keys
    WHERE run_id >= $1
        AND run_id < $2
    ORDER BY run_id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_keys AS gone
USING named
WHERE (gone.namespace, gone.scope, gone.key) = (named.namespace, named.scope, named.key)

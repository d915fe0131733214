WITH named AS MATERIALIZED (
    SELECT namespace, key
    FROM cache_keys
    WHERE run_id >= $1
        AND run_id < $2
    ORDER BY run_id
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM cache_keys AS gone
USING named
WHERE (gone.namespace, gone.key) = (named.namespace, named.key)

-- What is kept of these runs outside of their rows.
WITH parameters_and_results AS (
    DELETE FROM run_payloads WHERE run_id = ANY($1) AND run_id BETWEEN $2 AND $3
), failures AS (
    DELETE FROM run_failures WHERE run_id = ANY($1) AND run_id BETWEEN $2 AND $3
), inputs AS (
    DELETE FROM run_inputs WHERE run_id = ANY($1) AND run_id BETWEEN $2 AND $3
), shown AS MATERIALIZED (  -- locked in the order of artifacts/delete_versions.sql
    SELECT id
    FROM artifacts
    WHERE run_id = ANY($1)
    ORDER BY id
    FOR UPDATE
), artifacts_of_runs AS (
    DELETE FROM artifacts
    USING shown
    WHERE artifacts.id = shown.id
), named_by_key AS MATERIALIZED (  -- locked in the order of idempotency_keys/reserve.sql
    SELECT namespace, scope, key
    FROM idempotency_keys
    WHERE run_id = ANY($1)
    ORDER BY namespace, scope, key
    FOR UPDATE
), keys AS (
    DELETE FROM idempotency_keys AS gone
    USING named_by_key AS named
    WHERE (gone.namespace, gone.scope, gone.key) = (named.namespace, named.scope, named.key)
), serving AS MATERIALIZED (  -- locked in the order of cache_keys/put.sql
    SELECT namespace, key
    FROM cache_keys
    WHERE run_id = ANY($1)
    ORDER BY namespace, key
    FOR UPDATE
), cached AS (
    DELETE FROM cache_keys AS gone
    USING serving
    WHERE (gone.namespace, gone.key) = (serving.namespace, serving.key)
)
DELETE FROM run_events
WHERE run_id = ANY($1)
    AND run_id BETWEEN $2 AND $3

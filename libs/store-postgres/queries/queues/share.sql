-- In one order, so that two batches cannot deadlock.
WITH keys AS MATERIALIZED (
    SELECT DISTINCT hashtext(namespace) AS key
    FROM UNNEST($2::text[]) AS asked (namespace)
    ORDER BY key
)
SELECT pg_advisory_xact_lock_shared($1, key)
FROM keys

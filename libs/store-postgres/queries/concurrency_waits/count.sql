SELECT (
    SELECT count(*)
    FROM concurrency_waits AS waits
    WHERE waits.namespace = asked.namespace
        AND waits.limit_name = asked.name
        AND waits.expires_at IS NULL
)
FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS asked (namespace, name, idx)
ORDER BY asked.idx

-- All that are held, of every pool, are no more than workers have slots.
WITH held AS MATERIALIZED (
    SELECT namespace, work_pool
    FROM runs
    WHERE queue IS NOT NULL
        AND holder IS NOT NULL
)
SELECT count(*)
FROM (
    SELECT 1
    FROM held
    WHERE namespace = $1
        AND work_pool = $2
    LIMIT $3
) AS counted

-- All that are held, of every queue, are no more than workers have slots: no index by queue would be worth its writes.
WITH held AS MATERIALIZED (
    SELECT namespace, queue
    FROM runs
    WHERE queue IS NOT NULL
        AND holder IS NOT NULL
)
SELECT count(*)
FROM (
    SELECT 1
    FROM held
    WHERE namespace = $1
        AND queue = $2
    LIMIT $3
) AS counted

-- With the limits that keep their runs from overlapping.
WITH gone AS (
    DELETE FROM schedules
    WHERE schedules.namespace = $1
        AND schedules.deployment = $2
    RETURNING schedules.name
)
DELETE FROM concurrency_limits
WHERE concurrency_limits.namespace = $1
    AND concurrency_limits.name IN (SELECT $3 || $2 || '/' || gone.name FROM gone)

-- Those that keep the runs of a deployment's schedules from overlapping.
DELETE FROM concurrency_limits
WHERE concurrency_limits.namespace = ?1
    AND concurrency_limits.name IN (
        SELECT ?3 || schedules.deployment || '/' || schedules.name
        FROM schedules
        WHERE schedules.namespace = ?1
            AND schedules.deployment = ?2
    )

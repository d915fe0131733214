-- Of a limit, or of all that a template binds.
UPDATE concurrency_rates AS rates
SET arrival = ?5
WHERE rates.namespace = ?1
    AND rates.limit_name >= ?3
    AND rates.limit_name < ?4
    AND rates.arrival > ?5
    AND NOT EXISTS (
        SELECT 1
        FROM concurrency_limits AS own
        WHERE own.namespace = rates.namespace
            AND own.name = rates.limit_name
            AND own.name <> ?2
    )

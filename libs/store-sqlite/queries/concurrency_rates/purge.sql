DELETE FROM concurrency_rates
WHERE (namespace, limit_name) IN (
    SELECT namespace, limit_name
    FROM concurrency_rates
    WHERE arrival <= ?1
    ORDER BY arrival
    LIMIT ?2
)

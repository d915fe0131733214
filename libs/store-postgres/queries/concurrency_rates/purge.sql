WITH full_again AS MATERIALIZED (
    SELECT namespace, limit_name
    FROM concurrency_rates
    WHERE arrival <= $1
    ORDER BY arrival
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM concurrency_rates AS rates
USING full_again
WHERE (rates.namespace, rates.limit_name) = (full_again.namespace, full_again.limit_name)

WITH ended AS MATERIALIZED (
    SELECT id
    FROM bulk_operations
    WHERE ended_at < $1
    ORDER BY ended_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
)
DELETE FROM bulk_operations
USING ended
WHERE bulk_operations.id = ended.id

DELETE FROM bulk_operations
WHERE id IN (
    SELECT id
    FROM bulk_operations
    WHERE ended_at < ?1
    ORDER BY ended_at
    LIMIT ?2
)

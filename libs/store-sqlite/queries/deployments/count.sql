SELECT count(*)
FROM (
    SELECT 1
    FROM deployments
    WHERE namespace = ?1
    LIMIT ?2
)

SELECT count(*)
FROM (
    SELECT 1
    FROM variables
    WHERE namespace = ?1
    LIMIT ?2
)

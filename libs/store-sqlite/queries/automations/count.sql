SELECT count(*)
FROM (
    SELECT 1
    FROM automations
    WHERE namespace = ?1
    LIMIT ?2
)

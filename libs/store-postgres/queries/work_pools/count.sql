SELECT count(*)
FROM (
    SELECT 1
    FROM work_pools
    WHERE namespace = $1
    LIMIT $2
) AS counted

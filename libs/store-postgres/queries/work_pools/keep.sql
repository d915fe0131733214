SELECT 1
FROM work_pools
WHERE namespace = $1
    AND name = $2
FOR SHARE

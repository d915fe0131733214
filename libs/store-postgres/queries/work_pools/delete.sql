DELETE FROM work_pools
WHERE namespace = $1
    AND name = $2

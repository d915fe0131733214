FROM work_pools
WHERE work_pools.namespace = ?1
    AND (?2 IS NULL OR work_pools.name > ?2)
ORDER BY work_pools.name
LIMIT ?3

SELECT name
FROM work_pools
WHERE namespace = ?1
ORDER BY name
LIMIT ?2

SELECT name
FROM deployments
WHERE namespace = ?1
    AND work_pool = ?2
ORDER BY name
LIMIT 1

SELECT name
FROM deployments
WHERE namespace = $1
ORDER BY name
LIMIT $2

FROM deployments
WHERE deployments.namespace = $1
    AND ($2::text IS NULL OR deployments.name > $2)
ORDER BY deployments.name
LIMIT $3

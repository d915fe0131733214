SELECT version, spec, created_at, created_by
FROM deployment_versions
WHERE namespace = $1
    AND name = $2
    AND version < $3
ORDER BY version DESC
LIMIT $4

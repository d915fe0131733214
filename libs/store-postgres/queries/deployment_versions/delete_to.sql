DELETE FROM deployment_versions
WHERE namespace = $1
    AND name = $2
    AND version <= $3

    , artifacts.data, artifacts.object_id, artifacts.object_size, artifacts.object_sha256
FROM artifacts
WHERE artifacts.id = $2
    AND artifacts.namespace = $1

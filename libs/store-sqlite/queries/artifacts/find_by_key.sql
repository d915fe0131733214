    , artifacts.data, artifacts.object_id, artifacts.object_size, artifacts.object_sha256
FROM artifacts
WHERE artifacts.namespace = ?1
    AND artifacts.key = ?2
    AND (?3 IS NULL OR artifacts.version = ?3)
ORDER BY artifacts.version DESC
LIMIT 1

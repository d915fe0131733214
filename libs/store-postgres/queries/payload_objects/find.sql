SELECT id, size, sha256, namespace, key, state
FROM payload_objects
WHERE id = $1
    AND ($2::text IS NULL OR namespace = $2)

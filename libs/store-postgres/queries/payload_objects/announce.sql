INSERT INTO payload_objects (id, size, touched_at, sha256, namespace, key, state)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE
SET touched_at = GREATEST(payload_objects.touched_at, EXCLUDED.touched_at)
WHERE payload_objects.namespace = EXCLUDED.namespace
    AND payload_objects.state <> 'DELETING'

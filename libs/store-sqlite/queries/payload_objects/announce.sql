INSERT INTO payload_objects (id, size, touched_at, sha256, namespace, key, state)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (id) DO UPDATE
SET touched_at = MAX(payload_objects.touched_at, excluded.touched_at)
WHERE payload_objects.namespace = excluded.namespace
    AND payload_objects.state <> 'DELETING'

INSERT INTO run_inputs (run_id, key, kind, data, object_id, object_size, object_sha256)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (run_id, key, kind) DO UPDATE
SET data = excluded.data,
    object_id = excluded.object_id,
    object_size = excluded.object_size,
    object_sha256 = excluded.object_sha256

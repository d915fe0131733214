INSERT INTO artifacts (
    id, namespace, key, version, type, description, progress, labels, run_id, root_id, created_at, updated_at, data,
    object_id, object_size, object_sha256
)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13, ?14, ?15)
ON CONFLICT (id) DO NOTHING

UPDATE artifacts
SET description = $2,
    progress = $3,
    updated_at = $4,
    data = COALESCE($5, data),
    object_id = CASE WHEN $5 IS NULL THEN object_id ELSE $6 END,
    object_size = CASE WHEN $5 IS NULL THEN object_size ELSE $7 END,
    object_sha256 = CASE WHEN $5 IS NULL THEN object_sha256 ELSE $8 END
WHERE id = $1

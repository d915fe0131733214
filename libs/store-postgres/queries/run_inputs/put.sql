INSERT INTO run_inputs (run_id, key, kind, data, object_id, object_size, object_sha256)
SELECT *
FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::uuid[], $6::bigint[], $7::bytea[])
ON CONFLICT (run_id, key, kind) DO UPDATE
SET data = EXCLUDED.data,
    object_id = EXCLUDED.object_id,
    object_size = EXCLUDED.object_size,
    object_sha256 = EXCLUDED.object_sha256

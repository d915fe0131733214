INSERT INTO run_payloads (run_id, kind, data, object_id, object_size, object_sha256)
SELECT payload.run_id, $1, payload.data, payload.object_id, payload.object_size, payload.object_sha256
FROM UNNEST($2::uuid[], $3::bytea[], $4::uuid[], $5::bigint[], $6::bytea[])
    AS payload (run_id, data, object_id, object_size, object_sha256)
ON CONFLICT (run_id, kind) DO UPDATE
SET data = EXCLUDED.data,
    object_id = EXCLUDED.object_id,
    object_size = EXCLUDED.object_size,
    object_sha256 = EXCLUDED.object_sha256

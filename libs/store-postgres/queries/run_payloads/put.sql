-- A list of objects with one element is that of all payloads, as in runs/insert.sql: most have none.
INSERT INTO run_payloads (run_id, kind, data, object_id, object_size, object_sha256)
SELECT
    payload.run_id,
    $1,
    payload.data,
    CASE WHEN cardinality($4) = 1 THEN $4[1] ELSE payload.object_id END,
    CASE WHEN cardinality($5) = 1 THEN $5[1] ELSE payload.object_size END,
    CASE WHEN cardinality($6) = 1 THEN $6[1] ELSE payload.object_sha256 END
FROM UNNEST($2::uuid[], $3::bytea[], $4::uuid[], $5::bigint[], $6::bytea[])
    AS payload (run_id, data, object_id, object_size, object_sha256)
ON CONFLICT (run_id, kind) DO UPDATE
SET data = EXCLUDED.data,
    object_id = EXCLUDED.object_id,
    object_size = EXCLUDED.object_size,
    object_sha256 = EXCLUDED.object_sha256

INSERT INTO run_payloads (run_id, kind, data, object_id, object_size, object_sha256)
SELECT copy.to_id, 'result', source.data, source.object_id, source.object_size, source.object_sha256
FROM UNNEST($1::uuid[], $2::uuid[]) AS copy (from_id, to_id)
JOIN run_payloads AS source
    ON source.run_id = copy.from_id
    AND source.run_id = ANY($1) -- leaves out partitions
    AND source.kind = 'result'
ON CONFLICT (run_id, kind) DO UPDATE
SET data = EXCLUDED.data,
    object_id = EXCLUDED.object_id,
    object_size = EXCLUDED.object_size,
    object_sha256 = EXCLUDED.object_sha256

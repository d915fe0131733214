INSERT INTO run_payloads (run_id, kind, data, object_id, object_size, object_sha256)
SELECT unhex(copy.value ->> 1), 'result', source.data, source.object_id, source.object_size, source.object_sha256
FROM json_each(?1) AS copy
JOIN run_payloads AS source ON source.run_id = unhex(copy.value ->> 0) AND source.kind = 'result'
WHERE TRUE -- or ON would be read as the join's
ON CONFLICT (run_id, kind) DO UPDATE
SET data = excluded.data,
    object_id = excluded.object_id,
    object_size = excluded.object_size,
    object_sha256 = excluded.object_sha256

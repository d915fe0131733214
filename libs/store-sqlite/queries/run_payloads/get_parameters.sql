SELECT run_id, data, object_id, object_size, object_sha256
FROM run_payloads
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
    AND kind = 'parameters'

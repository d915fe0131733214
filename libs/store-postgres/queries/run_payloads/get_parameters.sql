SELECT run_id, data, object_id, object_size, object_sha256
FROM run_payloads
WHERE run_id = ANY($1)
    AND run_id BETWEEN $2 AND $3
    AND kind = 'parameters'

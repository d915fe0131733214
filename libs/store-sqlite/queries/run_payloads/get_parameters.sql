SELECT run_id, data
FROM run_payloads
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
    AND kind = 'parameters'

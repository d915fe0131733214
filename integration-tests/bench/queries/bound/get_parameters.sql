SELECT run_id, data
FROM run_payloads
WHERE run_id = ANY($1)
    AND kind = 'parameters'

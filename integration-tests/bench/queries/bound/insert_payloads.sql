INSERT INTO run_payloads (run_id, data{rest})
SELECT new.run_id, new.data{rest of pattern}
FROM UNNEST($1::uuid[], $2::bytea[]) AS new (run_id, data)
CROSS JOIN (SELECT * FROM run_payloads WHERE run_id = $3 AND kind = $4) AS pattern

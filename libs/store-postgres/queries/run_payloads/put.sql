INSERT INTO run_payloads (run_id, kind, data)
SELECT payload.run_id, $1, payload.data
FROM UNNEST($2::uuid[], $3::bytea[]) AS payload (run_id, data)
ON CONFLICT (run_id, kind) DO UPDATE SET data = EXCLUDED.data

INSERT INTO run_inputs (run_id, key, kind, data)
SELECT *
FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::bytea[])
ON CONFLICT (run_id, key, kind) DO UPDATE SET data = EXCLUDED.data

INSERT INTO run_inputs (run_id, key, kind, data)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (run_id, key, kind) DO UPDATE SET data = excluded.data

INSERT INTO run_payloads (run_id, kind, data)
VALUES (?1, ?2, ?3)
ON CONFLICT (run_id, kind) DO UPDATE SET data = excluded.data

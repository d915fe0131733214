INSERT INTO log_writers (namespace, writer, stored, stored_day)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (namespace, writer) DO UPDATE SET stored = excluded.stored, stored_day = excluded.stored_day

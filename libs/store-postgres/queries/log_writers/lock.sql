-- Locked in one order, so that two transactions cannot deadlock.
INSERT INTO log_writers (namespace, writer, stored, stored_day)
SELECT writers.namespace, writers.writer, '', $3
FROM UNNEST($1::text[], $2::text[]) AS writers (namespace, writer)
ORDER BY writers.namespace COLLATE "C", writers.writer COLLATE "C"
ON CONFLICT (namespace, writer) DO UPDATE SET stored_day = EXCLUDED.stored_day
RETURNING namespace, writer, stored

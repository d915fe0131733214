UPDATE log_writers SET stored = changed.stored
FROM UNNEST($1::text[], $2::text[], $3::text[]) AS changed (namespace, writer, stored)
WHERE log_writers.namespace = changed.namespace AND log_writers.writer = changed.writer

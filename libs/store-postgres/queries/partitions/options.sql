-- The storage parameters of a table, as CREATE TABLE takes them.
SELECT ' WITH (' || ARRAY_TO_STRING(reloptions, ', ') || ')'
FROM pg_class
WHERE oid = TO_REGCLASS($1)

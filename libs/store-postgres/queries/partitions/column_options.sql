-- What the statistics of a table's columns are told, as ALTER TABLE takes it.
SELECT 'ALTER COLUMN ' || QUOTE_IDENT(attname) || ' SET (' || ARRAY_TO_STRING(attoptions, ', ') || ')'
FROM pg_attribute
WHERE attrelid = TO_REGCLASS($1)
    AND attoptions IS NOT NULL

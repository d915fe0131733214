SELECT child.relname::text
FROM pg_inherits
INNER JOIN pg_class AS child ON pg_inherits.inhrelid = child.oid
WHERE pg_inherits.inhparent = 'logs'::regclass AND child.relname ~ '^logs_[0-9]{8}$'
ORDER BY 1

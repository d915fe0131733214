-- The partitions of `runs` with their bounds, oldest first; those of the other tables are made and dropped with them.
SELECT partitions.relname::text, bounds[1]::uuid, bounds[2]::uuid
FROM pg_inherits
JOIN pg_class AS partitions ON partitions.oid = pg_inherits.inhrelid
CROSS JOIN REGEXP_MATCH(
    PG_GET_EXPR(partitions.relpartbound, partitions.oid), 'FROM \(''([0-9a-f-]+)''\) TO \(''([0-9a-f-]+)''\)'
) AS bounds
WHERE pg_inherits.inhparent = 'runs'::regclass
    AND bounds IS NOT NULL -- the default one has none
ORDER BY 2

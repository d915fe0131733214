SELECT namespace, limit_name
FROM concurrency_waits
WHERE (namespace, limit_name) > ($1, $2)
ORDER BY namespace, limit_name
LIMIT 1

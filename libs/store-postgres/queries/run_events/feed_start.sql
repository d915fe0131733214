SELECT position, id - 1
FROM run_events
WHERE run_id = $1
ORDER BY seq
LIMIT 1

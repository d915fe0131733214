SELECT run_id, count(*)
FROM artifacts
WHERE run_id = ANY($1)
GROUP BY run_id

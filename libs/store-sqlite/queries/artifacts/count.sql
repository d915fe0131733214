SELECT run_id, count(*)
FROM artifacts
WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))
GROUP BY run_id

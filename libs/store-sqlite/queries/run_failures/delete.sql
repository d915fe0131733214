DELETE FROM run_failures WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))

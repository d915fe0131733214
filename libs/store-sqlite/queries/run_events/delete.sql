DELETE FROM run_events WHERE run_id IN (SELECT unhex(value) FROM json_each(?1))

-- Just before the run's first event; 0 where it has none yet.
SELECT COALESCE(MIN(position) - 1, 0) FROM run_events WHERE run_id = ?1

SELECT COALESCE(MAX(position), 0) FROM run_events

SELECT COALESCE(MAX(position), 0) FROM logs

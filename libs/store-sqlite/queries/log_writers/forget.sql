DELETE FROM log_writers WHERE stored_day < ?1

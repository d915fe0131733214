DELETE FROM logs_default WHERE stored_day < $1

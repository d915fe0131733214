SELECT PG_NOTIFY('tidegate_logs', '')

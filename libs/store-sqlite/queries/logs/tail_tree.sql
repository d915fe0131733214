SELECT position, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id
FROM logs
WHERE
    root_run_id = ?1
    AND namespace = ?2
    AND level >= ?3
    AND position > ?4
    AND position <= ?5
ORDER BY position
LIMIT ?6

SELECT position, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id
FROM logs
WHERE
    root_run_id = ?1
    AND namespace = ?2
    AND level >= ?3
    AND (?4 IS NULL OR instr(lower(message), lower(?4)) > 0)
    AND (logged_at, position) > (?5, ?6)
ORDER BY logged_at, position
LIMIT ?7

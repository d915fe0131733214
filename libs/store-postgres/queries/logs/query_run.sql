SELECT run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id, txid, ordinal
FROM logs
WHERE
    run_id = $1
    AND namespace = $2
    AND level >= $3
    AND ($4::text IS NULL OR STRPOS(LOWER(message), LOWER($4)) > 0)
    AND (logged_at, txid, ordinal) > ($5, $6, $7)
ORDER BY logged_at, txid, ordinal
LIMIT $8

COPY logs (
    stored_day, ordinal, namespace, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id,
    span_id
)
FROM STDIN (FORMAT binary)

-- As logs/copy.sql, for connections with TLS.
INSERT INTO logs (
    stored_day, ordinal, namespace, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id,
    span_id
)
SELECT
    $1, ordinal::integer, namespace, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id,
    span_id
FROM UNNEST(
    $2::text[], $3::uuid[], $4::uuid[], $5::integer[], $6::bigint[], $7::bigint[], $8::smallint[], $9::text[],
    $10::text[], $11::text[], $12::text[]
) WITH ORDINALITY AS lines (
    namespace, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id, ordinal
)

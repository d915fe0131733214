INSERT INTO logs (
    stored_day, namespace, run_id, root_run_id, attempt, seq, logged_at, level, logger, message, trace_id, span_id
)
SELECT
    ?2, v ->> 0, unhex(v ->> 1), unhex(v ->> 2), v ->> 3, v ->> 4, v ->> 5, v ->> 6, v ->> 7, v ->> 8, v ->> 9,
    v ->> 10
FROM (SELECT value AS v FROM json_each(?1))

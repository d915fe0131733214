INSERT INTO run_events (
    run_id, root_id, namespace, kind, name, seq, state, state_name, message, occurred_at, holder, attempt, epoch,
    ended, actor
)
SELECT
    unhex(v ->> 0), unhex(v ->> 1), v ->> 2, v ->> 3, v ->> 4, v ->> 5, v ->> 6, v ->> 7, v ->> 8, v ->> 9,
    v ->> 10, v ->> 11, v ->> 12, v ->> 13, v ->> 14
FROM (SELECT key, value AS v FROM json_each(?1) ORDER BY key)

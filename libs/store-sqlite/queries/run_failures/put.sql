INSERT INTO run_failures (run_id, attempt, error_type, message, traceback, non_retryable)
SELECT unhex(v ->> 0), v ->> 1, v ->> 2, v ->> 3, v ->> 4, v ->> 5
FROM (SELECT value AS v FROM json_each(?1))
WHERE TRUE -- without it, ON would be read as that of a join
ON CONFLICT (run_id, attempt) DO UPDATE
SET error_type = excluded.error_type,
    message = excluded.message,
    traceback = excluded.traceback,
    non_retryable = excluded.non_retryable

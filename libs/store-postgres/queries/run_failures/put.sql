INSERT INTO run_failures (run_id, attempt, non_retryable, error_type, message, traceback)
SELECT *
FROM UNNEST($1::uuid[], $2::bigint[], $3::boolean[], $4::text[], $5::text[], $6::text[])
ON CONFLICT (run_id, attempt) DO UPDATE
SET non_retryable = EXCLUDED.non_retryable,
    error_type = EXCLUDED.error_type,
    message = EXCLUDED.message,
    traceback = EXCLUDED.traceback

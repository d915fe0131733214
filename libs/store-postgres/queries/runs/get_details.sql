    , parameters.data, parameters.object_id, parameters.object_size, parameters.object_sha256,
    result.data, result.object_id, result.object_size, result.object_sha256,
    failure.error_type, failure.message, failure.traceback, failure.non_retryable
FROM runs
LEFT JOIN run_payloads AS parameters ON parameters.run_id = runs.id AND parameters.kind = 'parameters'
LEFT JOIN run_payloads AS result ON result.run_id = runs.id AND result.kind = 'result'
LEFT JOIN LATERAL (
    SELECT error_type, message, traceback, non_retryable
    FROM run_failures
    WHERE run_failures.run_id = runs.id
    ORDER BY attempt DESC
    LIMIT 1
) AS failure ON TRUE
WHERE runs.id = ANY($1)
    AND ($2::text IS NULL OR runs.namespace = $2)

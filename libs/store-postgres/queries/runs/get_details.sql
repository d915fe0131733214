    , parameters.data, parameters.object_id, parameters.object_size, parameters.object_sha256,
    result.data, result.object_id, result.object_size, result.object_sha256,
    failure.error_type, failure.message, failure.traceback, failure.non_retryable
FROM runs
-- Each LIMIT keeps its part from becoming a join that reads the payloads of other runs.
LEFT JOIN LATERAL (
    SELECT data, object_id, object_size, object_sha256
    FROM run_payloads
    WHERE run_id = runs.id
        AND run_id BETWEEN $2 AND $3
        AND kind = 'parameters'
    LIMIT 1
) AS parameters ON TRUE
LEFT JOIN LATERAL (
    SELECT data, object_id, object_size, object_sha256
    FROM run_payloads
    WHERE run_id = runs.id
        AND run_id BETWEEN $2 AND $3
        AND kind = 'result'
    LIMIT 1
) AS result ON TRUE
LEFT JOIN LATERAL (
    SELECT error_type, message, traceback, non_retryable
    FROM run_failures
    WHERE run_id = runs.id
        AND run_id BETWEEN $2 AND $3
    ORDER BY attempt DESC
    LIMIT 1
) AS failure ON TRUE
WHERE runs.id = ANY($1)
    AND runs.id BETWEEN $2 AND $3
    AND ($4::text IS NULL OR runs.namespace = $4)

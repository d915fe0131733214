    , parameters.data, parameters.object_id, parameters.object_size, parameters.object_sha256,
    result.data, result.object_id, result.object_size, result.object_sha256,
    failure.error_type, failure.message, failure.traceback, failure.non_retryable
FROM runs
LEFT JOIN run_payloads AS parameters ON parameters.run_id = runs.id AND parameters.kind = 'parameters'
LEFT JOIN run_payloads AS result ON result.run_id = runs.id AND result.kind = 'result'
LEFT JOIN run_failures AS failure ON failure.run_id = runs.id
    AND failure.attempt = (SELECT MAX(attempt) FROM run_failures WHERE run_id = runs.id)
WHERE runs.id IN (SELECT unhex(value) FROM json_each(?1))
    AND (?2 IS NULL OR runs.namespace = ?2)

SELECT run_inputs.run_id, run_inputs.key, run_inputs.kind, run_inputs.data, run_inputs.object_id,
    run_inputs.object_size, run_inputs.object_sha256
FROM run_inputs
JOIN runs ON runs.id = run_inputs.run_id
WHERE run_inputs.run_id = $1
    AND runs.namespace = $2
    AND ($3::text IS NULL OR run_inputs.key = $3)
    AND ($4::text IS NULL OR run_inputs.key > $4)
ORDER BY run_inputs.key, run_inputs.kind DESC
LIMIT $5

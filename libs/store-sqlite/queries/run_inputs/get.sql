SELECT run_inputs.run_id, run_inputs.key, run_inputs.kind, run_inputs.data
FROM run_inputs
JOIN runs ON runs.id = run_inputs.run_id
WHERE run_inputs.run_id = ?1
    AND runs.namespace = ?2
ORDER BY run_inputs.key, run_inputs.kind DESC

UPDATE payload_objects
SET touched_at = ?2,
    state = CASE
        WHEN state = 'COMPLETE' AND (
            EXISTS (
                SELECT 1 FROM run_payloads
                JOIN runs ON runs.id = run_payloads.run_id
                WHERE run_payloads.object_id = payload_objects.id
            )
            OR EXISTS (
                SELECT 1 FROM run_inputs
                JOIN runs ON runs.id = run_inputs.run_id
                WHERE run_inputs.object_id = payload_objects.id
            )
            OR EXISTS (SELECT 1 FROM artifacts WHERE artifacts.object_id = payload_objects.id)
        ) THEN 'COMPLETE'
        ELSE 'DELETING'
    END
WHERE id IN (SELECT id FROM payload_objects WHERE touched_at < ?1 ORDER BY touched_at LIMIT ?3)
RETURNING id, size, sha256, namespace, key, state

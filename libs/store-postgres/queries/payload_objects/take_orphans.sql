-- A use that is being committed has changed `touched_at`, so that its object is left out here, whatever the snapshot
-- of this statement shows of the payloads.
WITH due AS MATERIALIZED (
    SELECT id
    FROM payload_objects
    WHERE touched_at < $1
    ORDER BY touched_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE payload_objects
SET touched_at = $2,
    state = CASE
        WHEN state = 'COMPLETE' AND (
            EXISTS (
                SELECT FROM run_payloads
                JOIN runs ON runs.id = run_payloads.run_id
                WHERE run_payloads.object_id = payload_objects.id
            )
            OR EXISTS (
                SELECT FROM run_inputs
                JOIN runs ON runs.id = run_inputs.run_id
                WHERE run_inputs.object_id = payload_objects.id
            )
            OR EXISTS (SELECT FROM artifacts WHERE artifacts.object_id = payload_objects.id)
        ) THEN 'COMPLETE'
        ELSE 'DELETING'
    END
FROM due
WHERE payload_objects.id = due.id
RETURNING payload_objects.id, payload_objects.size, payload_objects.sha256, payload_objects.namespace,
    payload_objects.key, payload_objects.state

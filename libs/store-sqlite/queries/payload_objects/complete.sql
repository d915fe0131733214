UPDATE payload_objects
SET state = 'COMPLETE',
    touched_at = MAX(touched_at, ?3)
WHERE id = ?1
    AND namespace = ?2
    AND state <> 'DELETING'

DELETE FROM payload_objects
WHERE id = ANY($1)
    AND state = 'DELETING'

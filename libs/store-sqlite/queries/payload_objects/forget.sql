DELETE FROM payload_objects
WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    AND state = 'DELETING'

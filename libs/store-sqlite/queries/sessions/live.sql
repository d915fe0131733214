SELECT id, namespace
FROM sessions
WHERE id IN (SELECT unhex(value) FROM json_each(?1))
    AND expires_at > ?2

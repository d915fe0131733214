SELECT id, namespace
FROM sessions
WHERE id = ANY($1)
    AND expires_at > $2

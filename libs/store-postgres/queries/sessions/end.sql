UPDATE sessions
SET expires_at = $3
WHERE id = $1
    AND namespace = $2
    AND expires_at > $3

-- A session that was ended has 0, and stays so.
INSERT INTO sessions (id, namespace, identity, expires_at)
VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE
SET identity = EXCLUDED.identity,
    expires_at = EXCLUDED.expires_at
WHERE sessions.namespace = EXCLUDED.namespace
    AND sessions.expires_at > 0

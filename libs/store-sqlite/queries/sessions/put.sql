-- A session that was ended has 0, and stays so.
INSERT INTO sessions (id, namespace, identity, expires_at)
VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (id) DO UPDATE
SET identity = excluded.identity,
    expires_at = excluded.expires_at
WHERE sessions.namespace = excluded.namespace
    AND sessions.expires_at > 0

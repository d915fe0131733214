DELETE FROM sessions
WHERE id IN (
    SELECT id
    FROM sessions
    WHERE expires_at < ?1
        AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.session_id = sessions.id AND runs.ended_at IS NULL)
    ORDER BY expires_at
    LIMIT ?2
)
